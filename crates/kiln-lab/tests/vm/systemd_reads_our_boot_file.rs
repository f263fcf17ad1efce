//! Promise: a boot file of Kiln is a unified kernel image to those who defined it: systemd's `ukify`
//! and `bootctl` find in it what was put in, and it can be signed for Secure Boot.

mod packages;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use kiln_lab::debian::Debian;
use kiln_lab::product::Build;
use kiln_lab::{Cache, Error, Failure, Oracle};
use packages::SystemdTools;
use sha2::{Digest, Sha256};

/// The argument that names the root, put together from the release.
fn root_argument(build: &Build) -> Result<String, Error> {
    let hash = build.fact("/root/hash")?;
    let (blocks, salt) = (build.fact("/root/data_blocks")?, build.fact("/root/salt")?);
    Ok(format!("kiln.root={hash}:{blocks}:{salt}"))
}

#[test]
fn ukify_finds_every_section_as_it_was_put_in() -> Result<(), Failure> {
    let built = Build::new("ukify", &[])?;
    let sections = SystemdTools::get(&built.work)?.ukify(&built.file("efi"))?;
    let text = |name: &str| sections[name]["text"].as_str().unwrap_or_default().trim().to_owned();
    assert_eq!(text(".uname"), built.fact("/kernel")?, "{sections}");
    let argument = root_argument(&built)?;
    let command_line = text(".cmdline");
    assert_eq!(command_line.split(' ').filter(|word| **word == argument).count(), 1, "{sections}");
    let title = format!("PRETTY_NAME=\"{}\"", built.fact("/title")?);
    let fields = text(".osrel");
    assert!(fields.lines().any(|line| line == title), "{fields}");
    assert!(fields.lines().any(|line| line == "ID=kiln"), "{fields}");
    assert!(!fields.contains("VERSION"), "systemd-boot would sort by it: {fields}");

    let kernel = kernel_of_image(&built.fact("/kernel")?)?;
    let digest = format!("{:x}", Sha256::digest(&kernel));
    assert_eq!(sections[".linux"]["sha256"], digest, "the kernel is another one");
    assert_eq!(sections[".linux"]["size"], kernel.len());
    assert!(sections[".initrd"]["size"].as_u64().is_some_and(|size| size > 100_000), "{sections}");
    Ok(())
}

#[test]
fn ukify_finds_the_arguments_of_an_addon() -> Result<(), Failure> {
    let built = Build::new("addon", &["--addon", "serial=console=ttyS1,115200 quiet"])?;
    let file = built.work.join("serial.addon.efi");
    let sections = SystemdTools::get(&built.work)?.ukify(&file)?;
    assert_eq!(sections[".cmdline"]["text"], "console=ttyS1,115200 quiet", "{sections}");
    assert!(sections[".linux"].is_null(), "{sections}");
    assert_eq!(built.fact("/addons/0/arguments")?, "console=ttyS1,115200 quiet");
    let bytes = fs::read(&file).map_err(error("read", &file))?;
    assert_eq!(built.fact("/addons/0/digest")?, format!("{:x}", Sha256::digest(&bytes)));
    Ok(())
}

#[test]
fn bootctl_knows_it_as_a_unified_kernel_image() -> Result<(), Failure> {
    let built = Build::new("bootctl", &[])?;
    let tools = SystemdTools::get(&built.work)?;
    assert_eq!(tools.bootctl("kernel-identify", &built.file("efi"))?.trim(), "uki");
    let said = tools.bootctl("kernel-inspect", &built.file("efi"))?;
    let value = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(value("Kernel Type"), "uki", "{said}");
    assert_eq!(value("Version"), built.fact("/kernel")?, "{said}");
    assert_eq!(value("OS"), built.fact("/title")?, "{said}");
    let argument = root_argument(&built)?;
    assert!(value("Cmdline").split(' ').any(|word| word == argument), "{said}");
    // The tool is not one that says yes to everything.
    let cut = built.work.join("cut.efi");
    let bytes = fs::read(built.file("efi")).map_err(error("read", &built.file("efi")))?;
    fs::write(&cut, &bytes[..512]).map_err(error("write", &cut))?;
    let said = tools.bootctl("kernel-identify", &cut);
    assert!(!said.is_ok_and(|said| said.trim() == "uki"), "bootctl takes anything");
    Ok(())
}

#[test]
fn it_can_be_signed_and_the_signature_holds() -> Result<(), Failure> {
    let built = Build::new("signed", &[])?;
    // It says so on standard error.
    let unsigned =
        Oracle::new("sbverify").argument("--list").argument(built.file("efi")).outcome()?;
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
        .argument(built.file("efi"))
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
