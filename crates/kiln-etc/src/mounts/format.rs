//! The text of a decision: a line for each thing, fields separated by one blank.
//!
//! ```text
//! kiln.mounts.v1
//! memory 25%
//! persistent overlay /etc
//! persistent bind /var/log
//! ephemeral /srv
//! volume LABEL=DATA /my\040data ext4 ro,noatime
//! ```
//!
//! Blanks, tabs, line breaks, `#` and backslashes in a field are written as a backslash with three octal
//! digits, as in fstab(5). Anything that [`write()`] does not write is refused with its line: the file lives
//! for one boot, and writer and reader come from the same release. JSON was dropped: the first process
//! has no parser for it, and needs none.

use super::{MAXIMUM, MemorySize, Mode, MountPath, Mounts, Volume, Wishes};
use crate::Error;

/// The first line.
pub const FORMAT: &str = "kiln.mounts.v1";
/// Longest text in bytes: [`MAXIMUM`] lines of each kind with paths and options of usual length.
pub const MAXIMUM_LENGTH: usize = 512 << 10;
/// Stands for a file system that is to be found out, and for no options.
const NOTHING: [&str; 2] = ["auto", "defaults"];

/// The text.
#[must_use]
pub fn write(mounts: &Mounts) -> String {
    let mut text = format!("{FORMAT}\n");
    let mut line = |fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|field| escape(field)).collect();
        text.push_str(&fields.join(" "));
        text.push('\n');
    };
    if let Some(size) = mounts.memory() {
        line(&["memory", size.as_str()]);
    }
    for (path, mode) in mounts.persistent() {
        line(&["persistent", mode.name(), path.as_str()]);
    }
    for path in mounts.ephemeral() {
        line(&["ephemeral", path.as_str()]);
    }
    for volume in mounts.volumes() {
        let format = volume.format().unwrap_or(NOTHING[0]);
        let mut options = volume.options().join(",");
        if options.is_empty() {
            NOTHING[1].clone_into(&mut options);
        }
        line(&["volume", volume.device(), volume.path().as_str(), format, &options]);
    }
    text
}

/// Reads a text.
///
/// # Errors
/// [`Error::Mounts`] with the line.
pub fn parse(bytes: &[u8]) -> Result<Mounts, Error> {
    let wrong = |line: usize, reason: &'static str| Error::Mounts { line, reason };
    if bytes.len() > MAXIMUM_LENGTH {
        return Err(wrong(1, "it is too long"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(1, "it is no text"))?;
    let rest = text.strip_suffix('\n').ok_or_else(|| wrong(1, "its last line has no end"))?;
    let mut lines = (1..).zip(rest.split('\n'));
    if lines.next().is_none_or(|(_, first)| first != FORMAT) {
        return Err(wrong(1, "it is of another version"));
    }
    let mut wishes = Wishes::default();
    for (number, line) in lines {
        if number > 4 * MAXIMUM {
            return Err(wrong(number, "there are too many lines"));
        }
        read_line(line, &mut wishes).map_err(|reason| wrong(number, reason))?;
    }
    Ok(Mounts::settle(wishes).0)
}

fn read_line(line: &str, wishes: &mut Wishes) -> Result<(), &'static str> {
    let fields: Option<Vec<String>> = line.split(' ').map(unescape).collect();
    let fields = fields.ok_or("a backslash is not followed by three octal digits")?;
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    match fields.as_slice() {
        ["memory", size] if wishes.memory.is_none() => {
            wishes.memory = Some(MemorySize::new(size).ok_or("it is no size of memory")?);
        }
        ["persistent", mode, path] => {
            let mode = [Mode::Overlay, Mode::Bind].into_iter().find(|one| one.name() == *mode);
            wishes.persistent.push((MountPath::new(path)?, mode.ok_or("there is no such mode")?));
        }
        ["ephemeral", path] => wishes.ephemeral.push(MountPath::new(path)?),
        ["volume", device, path, format, options] => {
            let path = MountPath::new(path)?;
            wishes.volumes.push(Volume::new(device, path, Some(format), &[options])?);
        }
        _ => return Err("it is no line of this version"),
    }
    Ok(())
}

fn escape(field: &str) -> String {
    let mut text = String::new();
    for letter in field.chars() {
        match letter {
            ' ' | '\t' | '\n' | '#' | '\\' => {
                text.push_str(&format!("\\{:03o}", u32::from(letter)));
            }
            letter => text.push(letter),
        }
    }
    text
}

/// The field that [`escape`] wrote; `None` for anything else.
fn unescape(field: &str) -> Option<String> {
    let mut parts = field.split('\\');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let digits = part.get(..3)?;
        let is_octal = digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
        let code = u8::from_str_radix(digits, 8).ok().filter(|code| is_octal && code.is_ascii())?;
        text.push(char::from(code));
        text.push_str(part.get(3..)?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{FORMAT, MAXIMUM_LENGTH, Mode, MountPath, Mounts, Volume, parse, write};
    use crate::mounts::{MemorySize, Wishes};
    use proptest::prelude::*;

    fn path(text: &str) -> MountPath {
        MountPath::new(text).unwrap()
    }

    #[test]
    fn the_text_is_this_one() {
        let wishes = Wishes {
            persistent: vec![
                (path("/etc/ssh"), Mode::Bind),
                (path("/usr/libexec"), Mode::Overlay),
                (path("/my data"), Mode::Overlay),
            ],
            ephemeral: vec![path("/etc"), path("/srv"), path("/var")],
            memory: MemorySize::new("25%"),
            volumes: vec![
                Volume::new("LABEL=my #1", path("/data"), Some("ext4"), &["ro", "noatime"])
                    .unwrap(),
                Volume::new("/dev/vdb1", path("/var/lib/x"), None, &[]).unwrap(),
            ],
        };
        let (mounts, said) = Mounts::settle(wishes);
        assert!(said.is_empty(), "{said:?}");
        let text = "kiln.mounts.v1\n\
            memory 25%\n\
            persistent bind /etc/ssh\n\
            persistent overlay /my\\040data\n\
            persistent overlay /usr/libexec\n\
            ephemeral /etc\n\
            ephemeral /srv\n\
            ephemeral /var\n\
            volume LABEL=my\\040\\0431 /data ext4 ro,noatime\n\
            volume /dev/vdb1 /var/lib/x auto defaults\n";
        assert_eq!(write(&mounts), text);
        assert_eq!(parse(text.as_bytes()).unwrap(), mounts);
    }

    #[test]
    fn nothing_else_is_read() {
        let long = vec![b'\n'; MAXIMUM_LENGTH + 1];
        let many = format!("{FORMAT}\n{}", "ephemeral /x\n".repeat(3000));
        let cases: [(&[u8], usize, &str); 14] = [
            (b"", 1, "no end"),
            (b"kiln.mounts.v2\n", 1, "another version"),
            (b"kiln.mounts.v1\r\n", 1, "another version"),
            (b"kiln.mounts.v1", 1, "no end"),
            (b"kiln.mounts.v1\n\n", 2, "no line"),
            (b"kiln.mounts.v1\nephemeral /a\nephemeral  /b\n", 3, "no line"),
            (b"kiln.mounts.v1\nephemeral /a\\9b\n", 2, "octal"),
            (b"kiln.mounts.v1\nephemeral /a\\200b\n", 2, "octal"),
            (b"kiln.mounts.v1\nephemeral /a/../b\n", 2, "upwards"),
            (b"kiln.mounts.v1\npersistent copy /a\n", 2, "mode"),
            (b"kiln.mounts.v1\nmemory 101%\n", 2, "size"),
            (b"kiln.mounts.v1\nephemeral /\xff\n", 1, "no text"),
            (&long, 1, "too long"),
            (many.as_bytes(), 2049, "too many"),
        ];
        for (text, at, word) in cases {
            let shown = String::from_utf8_lossy(text).chars().take(40).collect::<String>();
            match parse(text) {
                Err(crate::Error::Mounts { line, reason }) => {
                    assert_eq!(line, at, "{shown:?}");
                    assert!(reason.contains(word), "{shown:?}: {reason}");
                }
                other => panic!("{shown:?}: {other:?}"),
            }
        }
    }

    fn paths() -> impl Strategy<Value = MountPath> {
        let name = prop::sample::select(vec!["etc", "var", "usr", "a b", "c-d", "x#", "ä"]);
        prop::collection::vec(name, 1..4)
            .prop_map(|names| MountPath::new(&format!("/{}", names.join("/"))))
            .prop_filter_map("a path", Result::ok)
    }

    prop_compose! {
        fn wishes()(
            persistent in prop::collection::vec((paths(), any::<bool>()), 0..8),
            ephemeral in prop::collection::vec(paths(), 0..8),
            volumes in prop::collection::vec((paths(), "[a-z #\\\\]{1,6}", "[a-z,=]{0,9}"), 0..4),
            size in prop::option::of(1..100_u8),
        ) -> Wishes {
            let mode = |bind| if bind { Mode::Bind } else { Mode::Overlay };
            Wishes {
                persistent: persistent.into_iter().map(|(path, bind)| (path, mode(bind))).collect(),
                ephemeral,
                memory: size.and_then(|size| MemorySize::new(&format!("{size}%"))),
                volumes: volumes
                    .into_iter()
                    .filter_map(|(path, label, option)| {
                        Volume::new(&format!("LABEL={label}"), path, None, &[&option]).ok()
                    })
                    .collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn every_decision_reads_back(wishes in wishes()) {
            let mounts = Mounts::settle(wishes).0;
            let text = write(&mounts);
            prop_assert_eq!(parse(text.as_bytes()).unwrap(), mounts);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let mut text = format!("{FORMAT}\n").into_bytes();
            text.extend(bytes);
            text.push(b'\n');
            let _ = parse(&text);
        }

        #[test]
        fn lines_of_the_right_words_are_survived(
            lines in prop::collection::vec(
                "(memory|persistent|ephemeral|volume)( (bind|overlay|/[a-z\\\\0-9.]{0,5}|LABEL=x|9%)){0,5}",
                0..6,
            ),
        ) {
            let text = format!("{FORMAT}\n{}\n", lines.join("\n"));
            if let Ok(mounts) = parse(text.as_bytes()) {
                prop_assert_eq!(parse(write(&mounts).as_bytes()).unwrap(), mounts);
            }
        }
    }
}
