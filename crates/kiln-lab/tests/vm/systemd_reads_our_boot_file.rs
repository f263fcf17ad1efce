//! Promise: a boot file of Kiln is a unified kernel image to those who defined it: systemd's `ukify`
//! and `bootctl` find in it what was put in, and it can be signed for Secure Boot.

mod packages;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_lab::debian::Debian;
use kiln_lab::{Cache, Error, Failure, Oracle, Product, WorkDirectory};
use packages::SystemdTools;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A built boot file with what the build said about it.
struct Built {
    work: WorkDirectory,
    release: Value,
    file: PathBuf,
}

impl Built {
    fn new(name: &str) -> Result<Self, Error> {
        let work = WorkDirectory::new(name)?;
        let image = Debian::get(&Cache::open()?)?.image();
        Product::from_environment()?
            .call()
            .arguments(["build", "--quiet", "--name", "lab", "--output"])
            .argument(work.path())
            .argument(format!("oci-archive:{}", image.display()))
            .run()?;
        let path = work.join("release.json");
        let text = fs::read_to_string(&path).map_err(error("read", &path))?;
        let release = serde_json::from_str(&text)
            .map_err(|_| Error::Unexpected { what: "release.json".into(), text })?;
        let file = work.join("lab.efi");
        Ok(Self { work, release, file })
    }

    /// A fact of the release as text, by its JSON pointer.
    fn fact(&self, pointer: &str) -> String {
        match self.release.pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            other => other.map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// The argument that names the root, put together from the release.
    fn root_argument(&self) -> String {
        let [hash, blocks, salt] =
            ["/root/hash", "/root/data_blocks", "/root/salt"].map(|pointer| self.fact(pointer));
        format!("kiln.root={hash}:{blocks}:{salt}")
    }
}

#[test]
fn ukify_finds_every_section_as_it_was_put_in() -> Result<(), Failure> {
    let built = Built::new("ukify")?;
    let sections = SystemdTools::get(&built.work)?.ukify(&built.file)?;
    let text = |name: &str| sections[name]["text"].as_str().unwrap_or_default().trim().to_owned();
    assert_eq!(text(".uname"), built.fact("/kernel"), "{sections}");
    let argument = built.root_argument();
    let command_line = text(".cmdline");
    assert_eq!(command_line.split(' ').filter(|word| **word == argument).count(), 1, "{sections}");
    let title = format!("PRETTY_NAME=\"{}\"", built.fact("/title"));
    let fields = text(".osrel");
    assert!(fields.lines().any(|line| line == title), "{fields}");
    assert!(fields.lines().any(|line| line == "ID=kiln"), "{fields}");
    assert!(!fields.contains("VERSION"), "systemd-boot would sort by it: {fields}");

    let kernel = kernel_of_image(&built.fact("/kernel"))?;
    let digest = format!("{:x}", Sha256::digest(&kernel));
    assert_eq!(sections[".linux"]["sha256"], digest, "the kernel is another one");
    assert_eq!(sections[".linux"]["size"], kernel.len());
    assert!(sections[".initrd"]["size"].as_u64().is_some_and(|size| size > 100_000), "{sections}");
    Ok(())
}

#[test]
fn bootctl_knows_it_as_a_unified_kernel_image() -> Result<(), Failure> {
    let built = Built::new("bootctl")?;
    let tools = SystemdTools::get(&built.work)?;
    assert_eq!(tools.bootctl("kernel-identify", &built.file)?.trim(), "uki");
    let said = tools.bootctl("kernel-inspect", &built.file)?;
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(value("Kernel Type"), "uki", "{said}");
    assert_eq!(value("Version"), built.fact("/kernel"), "{said}");
    assert_eq!(value("OS"), built.fact("/title"), "{said}");
    assert!(value("Cmdline").split(' ').any(|word| word == built.root_argument()), "{said}");
    // The tool is not one that says yes to everything.
    let cut = built.work.join("cut.efi");
    let bytes = fs::read(&built.file).map_err(error("read", &built.file))?;
    fs::write(&cut, &bytes[..512]).map_err(error("write", &cut))?;
    let said = tools.bootctl("kernel-identify", &cut);
    assert!(!said.is_ok_and(|said| said.trim() == "uki"), "bootctl takes anything");
    Ok(())
}

#[test]
fn it_can_be_signed_and_the_signature_holds() -> Result<(), Failure> {
    let built = Built::new("signed")?;
    // It says so on standard error.
    let unsigned = Oracle::new("sbverify").argument("--list").argument(&built.file).outcome()?;
    assert!(unsigned.text.contains("No signature table present"), "{}", unsigned.text);

    let [key, certificate, signed] =
        ["key", "certificate", "signed.efi"].map(|name| built.work.join(name));
    Oracle::new("openssl")
        .arguments(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256"])
        .arguments(["-days", "1", "-subj", "/CN=lab", "-keyout"])
        .arguments([key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .run()?;
    Oracle::new("sbsign")
        .arguments(["--key".as_ref(), key.as_os_str(), "--cert".as_ref()])
        .arguments([certificate.as_os_str(), "--output".as_ref(), signed.as_os_str()])
        .argument(&built.file)
        .run()?;
    let verify = |file: &Path| {
        Oracle::new("sbverify").argument("--cert").arguments([&certificate, file]).run()
    };
    verify(&signed)?;
    let listed = Oracle::new("sbverify").argument("--list").argument(&signed).run()?;
    assert!(listed.contains("CN = lab") || listed.contains("CN=lab"), "{listed}");

    // The signature covers the command line, which names the root.
    let mut bytes = fs::read(&signed).map_err(error("read", &signed))?;
    let needle = b"kiln.root=";
    let at = bytes.windows(needle.len()).position(|window| window == needle);
    let at = at.ok_or_else(|| Error::Unexpected {
        what: "the signed boot file".into(),
        text: "it has no command line".into(),
    })?;
    bytes[at + needle.len()] ^= 1;
    fs::write(&signed, bytes).map_err(error("write", &signed))?;
    assert!(verify(&signed).is_err(), "a changed command line passes");
    Ok(())
}

/// The kernel file of the image that was built.
fn kernel_of_image(release: &str) -> Result<Vec<u8>, Error> {
    let tree = Debian::get(&Cache::open()?)?.tree();
    let wanted = format!("boot/vmlinuz-{release}");
    let search = || -> std::io::Result<Option<Vec<u8>>> {
        for entry in tar::Archive::new(File::open(&tree)?).entries()? {
            let mut entry = entry?;
            if entry.path()?.strip_prefix("./").is_ok_and(|path| path == Path::new(&wanted)) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    };
    search().map_err(error("read", &tree))?.ok_or_else(|| Error::Unexpected {
        what: "the Debian image".into(),
        text: format!("it has no {wanted}"),
    })
}

fn error(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path: path.clone(), source }
}
