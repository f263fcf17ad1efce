//! From a Containerfile to an image, by a program that knows how.
//!
//! Kiln runs no program of an image and has no network of its own inside one, so it leaves building
//! to buildah, podman or docker, whichever is there first, and takes the archive that they write.
//! The archive lies in a private folder beside the output and goes away with it. Dropped alternative:
//! reading the image from the builder's own store, which has a different form for each version.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use kiln_registry::{Platform, Source};

use crate::{Error, Progress};

/// Lines of a builder's messages that an error repeats.
const LAST_LINES: usize = 15;

/// Longest line of a builder's messages that is kept whole, in bytes.
const LINE_MAX: u64 = 4096;

/// A program that builds container images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// Buildah: needs neither daemon nor root.
    Buildah,
    /// Podman: the same engine with another command line.
    Podman,
    /// Docker: asks its daemon.
    Docker,
}

impl Builder {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Self; 3] = [Self::Buildah, Self::Podman, Self::Docker];

    /// The program's name, which is also its package's.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Buildah => "buildah",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }
}

/// What to build.
#[derive(Debug, Clone)]
pub struct Containerfile {
    /// The file.
    pub file: PathBuf,
    /// The folder that its `COPY` reads, where not the file's own.
    pub context: Option<PathBuf>,
    /// `NAME=VALUE` for its `ARG`.
    pub arguments: Vec<String>,
    /// The stage to stop at, where not the last.
    pub target: Option<String>,
    /// The platform to build for, where not this machine's.
    pub platform: Option<Platform>,
    /// The program to use, where not the first that is installed.
    pub builder: Option<Builder>,
}

/// One call of a builder.
type Call = Vec<OsString>;

/// Builds the image as an archive in `folder`; returns the archive as a source.
pub(crate) fn build(
    options: &Containerfile,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Source, Error> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Error::read(path, e));
    let file = absolute(&options.file)?;
    std::fs::File::open(&file)
        .and_then(|file| file.metadata())
        .and_then(|data| match data.is_dir() {
            true => Err(std::io::ErrorKind::IsADirectory.into()),
            false => Ok(()),
        })
        .map_err(|source| Error::read(&options.file, source))?;
    let context = match &options.context {
        Some(context) => absolute(context)?,
        None => file.parent().unwrap_or(&file).to_owned(),
    };
    let listed = std::fs::read_dir(&context);
    listed.map_err(|source| Error::read(&context, source))?;
    let (builder, program) = find(options.builder, std::env::var_os("PATH").as_deref())?;
    let folder = absolute(folder)?;
    progress.detail(&format!("{} builds {}", program.display(), file.display()));

    let paths = Paths { file: &file, context: &context, folder: &folder };
    run(builder, &program, &build_call(builder, options, &paths), &options.file, progress)?;
    let archive = paths.archive();
    if builder == Builder::Buildah {
        return Ok(Source::OciArchive { path: archive, reference: None });
    }
    let name = paths.image_name();
    let image = std::fs::read_to_string(&name).map_err(|source| Error::read(&name, source))?;
    run(builder, &program, &save_call(builder, &paths, image.trim()), &options.file, progress)?;
    Ok(match builder {
        Builder::Docker => Source::DockerArchive { path: archive, reference: None },
        _ => Source::OciArchive { path: archive, reference: None },
    })
}

/// Where a builder reads and writes; all absolute, so that none can be taken for an option.
struct Paths<'a> {
    file: &'a Path,
    context: &'a Path,
    folder: &'a Path,
}

impl Paths<'_> {
    fn archive(&self) -> PathBuf {
        self.folder.join("image.tar")
    }

    /// Where podman and docker put the name of what they built.
    fn image_name(&self) -> PathBuf {
        self.folder.join("image-id")
    }
}

/// Buildah writes the archive at once; the others keep the image and have to be asked for it.
fn build_call(builder: Builder, options: &Containerfile, paths: &Paths<'_>) -> Call {
    let mut call: Call = vec!["build".into(), joined("--file=", paths.file)];
    if let Some(platform) = &options.platform {
        call.push(joined("--platform=", platform.to_string()));
    }
    call.extend(options.arguments.iter().map(|argument| joined("--build-arg=", argument)));
    call.extend(options.target.iter().map(|target| joined("--target=", target)));
    call.push(match builder {
        Builder::Buildah => joined("--tag=oci-archive:", paths.archive()),
        Builder::Podman | Builder::Docker => joined("--iidfile=", paths.image_name()),
    });
    call.push(paths.context.into());
    call
}

/// Docker has no other form than its own.
fn save_call(builder: Builder, paths: &Paths<'_>, image: &str) -> Call {
    let mut call: Call = vec!["save".into()];
    if builder == Builder::Podman {
        call.push("--format=oci-archive".into());
    }
    call.push(joined("--output=", paths.archive()));
    call.push(image.into());
    call
}

fn joined(option: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut word = OsString::from(option);
    word.push(value);
    word
}

/// The first builder in the folders of `path`, or the one that was asked for.
fn find(wanted: Option<Builder>, path: Option<&OsStr>) -> Result<(Builder, PathBuf), Error> {
    let folders: Vec<PathBuf> =
        path.map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let installed = |builder: Builder| {
        let mut paths = folders.iter().map(|folder| folder.join(builder.program()));
        paths.find(is_program).map(|program| (builder, program))
    };
    match wanted {
        Some(builder) => installed(builder).ok_or_else(|| Error::MissingTool {
            tool: builder.program(),
            source: std::io::ErrorKind::NotFound.into(),
        }),
        None => Builder::ALL.into_iter().find_map(installed).ok_or(Error::NoBuilder),
    }
}

/// Runs one call; every line that the builder says is a detail, the last ones are the error.
fn run(
    builder: Builder,
    program: &Path,
    call: &[OsString],
    file: &Path,
    progress: &mut dyn Progress,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Containerfile {
        builder: builder.program(),
        path: file.to_owned(),
        reason,
    };
    let refused = |source: std::io::Error| failed(source.to_string());
    let (messages, sink) = std::io::pipe().map_err(refused)?;
    let mut command = Command::new(program);
    let second = sink.try_clone().map_err(refused)?;
    // Standard output is Kiln's data; what builders print there are messages.
    command.args(call).stdin(Stdio::null()).stdout(sink).stderr(second);
    let mut child = command.spawn().map_err(refused)?;
    // The command holds the writing ends; without this the reading below never sees the end.
    drop(command);
    let last = listen(messages, progress);
    let status = child.wait().map_err(refused)?;
    if status.success() { Ok(()) } else { Err(failed(ending(status, &last))) }
}

fn ending(status: ExitStatus, last: &[String]) -> String {
    match last {
        [] => format!("it ended with {status} and said nothing"),
        lines => format!("it ended with {status}:\n  {}", lines.join("\n  ")),
    }
}

/// Passes lines on until the end and returns the last ones.
fn listen(messages: impl Read, progress: &mut dyn Progress) -> Vec<String> {
    let mut reader = BufReader::new(messages);
    let mut last = Vec::new();
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return last,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if text.is_empty() {
            continue;
        }
        progress.detail(&text);
        if last.len() == LAST_LINES {
            last.remove(0);
        }
        last.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    fn options() -> Containerfile {
        Containerfile {
            file: "Containerfile".into(),
            context: None,
            arguments: vec!["A=1".into(), "B=x y".into()],
            target: Some("final".into()),
            platform: Some(Platform::linux("arm64")),
            builder: None,
        }
    }

    #[test]
    fn calls_are_exactly_these() {
        let paths =
            Paths { file: "/c/File".as_ref(), context: "/c".as_ref(), folder: "/t".as_ref() };
        let common = "build|--file=/c/File|--platform=linux/arm64|--build-arg=A=1\
                      |--build-arg=B=x y|--target=final";
        let cases = [
            (Builder::Buildah, "--tag=oci-archive:/t/image.tar|/c", None),
            (
                Builder::Podman,
                "--iidfile=/t/image-id|/c",
                Some("save|--format=oci-archive|--output=/t/image.tar|sha256:1"),
            ),
            (
                Builder::Docker,
                "--iidfile=/t/image-id|/c",
                Some("save|--output=/t/image.tar|sha256:1"),
            ),
        ];
        let text = |call: Call| call.join(OsStr::new("|")).into_string().unwrap();
        for (builder, rest, save) in cases {
            let call = text(build_call(builder, &options(), &paths));
            assert_eq!(call, format!("{common}|{rest}"), "{builder:?}");
            if let Some(save) = save {
                assert_eq!(text(save_call(builder, &paths, "sha256:1")), save, "{builder:?}");
            }
        }
    }

    #[test]
    fn builders_are_found_in_order_and_only_if_they_can_run() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let path = std::env::join_paths(folders.iter().map(tempfile::TempDir::path)).unwrap();
        let put = |folder: usize, name: &str, mode| {
            let path = folders[folder].path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let found = |wanted| find(wanted, Some(&path)).map(|(builder, _)| builder);
        assert!(matches!(found(None), Err(Error::NoBuilder)));
        assert!(matches!(find(None, None), Err(Error::NoBuilder)));
        put(0, "docker", 0o755);
        put(0, "buildah", 0o644);
        assert_eq!(found(None).unwrap(), Builder::Docker);
        put(1, "podman", 0o755);
        assert_eq!(found(None).unwrap(), Builder::Podman);
        put(1, "buildah", 0o755);
        assert_eq!(found(None).unwrap(), Builder::Buildah);
        assert_eq!(found(Some(Builder::Docker)).unwrap(), Builder::Docker);
        std::fs::remove_file(folders[1].path().join("podman")).unwrap();
        let error = found(Some(Builder::Podman)).unwrap_err();
        assert!(matches!(error, Error::MissingTool { tool: "podman", .. }), "{error}");
    }

    #[test]
    fn only_the_last_lines_are_kept_and_long_ones_are_cut() {
        let many: String = (0..100).map(|number| format!("line {number}\n\n")).collect();
        let last = listen(many.as_bytes(), &mut Silent);
        assert_eq!((last.len(), last.last().unwrap().as_str()), (LAST_LINES, "line 99"));
        let long = vec![b'x'; 100_000];
        let last = listen(long.as_slice(), &mut Silent);
        assert!(last.iter().all(|line| line.len() as u64 <= LINE_MAX));
    }
}
