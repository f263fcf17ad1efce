//! An image whose os-release holds only what a derivative of Elemental writes into it.

use kiln_boot::os_release::OsRelease;
use kiln_build::Input;
use kiln_build::inspect::{Contents, inspect};
use kiln_registry::Source;

use crate::entry::{Entry, file, whiteout};
use crate::machine::Workshop;
use crate::programs::AMD64;
use crate::trees::Shape;

/// All that the derivative says about itself.
const OS_RELEASE: &[u8] = b"VERSION=999\nGRUB_ENTRY_NAME=derivative\n";

fn layers() -> Vec<Vec<Entry>> {
    let own = vec![
        whiteout("usr/lib/os-release"),
        // A link in the image below; `>` in a Containerfile would have replaced it likewise.
        file("etc/os-release", OS_RELEASE),
    ];
    vec![Shape::suse(AMD64).base(), own]
}

#[test]
fn it_boots_titled_derivative_and_is_version_999() {
    let workshop = Workshop::new(AMD64, &layers());
    let built = workshop.build().unwrap();
    let release = &built.release;
    // No ID at all: the name is that of the source, and this one has no reference either.
    assert_eq!(
        (&*release.name, &*release.version, &*release.title),
        ("system", "999", "derivative")
    );
    let boot_file = workshop.boot_file("system");
    assert_eq!(boot_file.title.as_deref(), Some("derivative"));

    let bytes = std::fs::read(workshop.output("system.efi")).unwrap();
    let uki = kiln_boot::uki::parse(&bytes).unwrap();
    let text = String::from_utf8(uki.section(".osrel").unwrap().to_vec()).unwrap();
    // Kiln's own ID and no version: systemd-boot must sort by generation and not by 999.
    let fields = OsRelease::parse(&text);
    assert_eq!((fields.get("ID"), fields.get("PRETTY_NAME")), (Some("kiln"), Some("derivative")));
    assert_eq!(fields.version(), None);

    let slot = workshop.disk("system").slots.remove(0);
    let inside = slot.root.unwrap().release;
    assert_eq!(inside.version.as_deref(), Some("999"));
    assert_eq!(inside.title.as_deref(), Some("derivative"));
    let report = inspect(&workshop.output("system.root"), 1).unwrap();
    let Contents::Root(root) = report.contents else { panic!("{report:?}") };
    assert_eq!((root.release.name, root.release.version.as_deref()), (None, Some("999")));
}

#[test]
fn its_name_is_that_of_its_reference() {
    let mut workshop = Workshop::new(AMD64, &layers());
    let Source::OciLayout { path, .. } = workshop.source() else { panic!() };
    let index = std::fs::read_to_string(path.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let reference = "registry.example/team/derivative:999";
    index["manifests"][1]["annotations"] =
        serde_json::json!({ "org.opencontainers.image.ref.name": reference });
    std::fs::write(path.join("index.json"), index.to_string()).unwrap();
    let source = Source::OciLayout { path, reference: Some(reference.to_owned()) };
    workshop.options.input = Input::Source(source);
    let built = workshop.build().unwrap();
    assert_eq!((&*built.release.name, &*built.release.title), ("derivative", "derivative"));
    assert!(workshop.output("derivative.raw").is_file());
}
