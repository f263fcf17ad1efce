//! An arm64 system assembles on any machine, without emulation.

use kiln_registry::Platform;

use crate::entry::file;
use crate::machine::Workshop;
use crate::model::expected;
use crate::programs::{AMD64, ARM64};
use crate::readback::{differences, read};
use crate::shapes::check_media;
use crate::trees::Shape;

#[test]
fn arm64_systems_assemble_and_their_structure_is_right() {
    let cases = [
        (Shape::ubuntu(ARM64), "ubuntu", "Ubuntu 24.04 LTS"),
        (Shape::suse(ARM64), "sl-micro", "SUSE Linux Micro 6.1"),
    ];
    for (shape, name, title) in cases {
        let layers = [shape.base()];
        let workshop = Workshop::new(ARM64, &layers);
        let built = workshop.build().unwrap();
        assert_eq!(built.release.architecture, "arm64");
        assert_eq!(built.release.kernel, shape.release);
        check_media(&workshop, name, ARM64, title);
        let lines =
            differences(&expected(&layers), &read(&workshop.output(&format!("{name}.root"))));
        assert!(lines.is_empty(), "{name}:\n{}", lines.join("\n"));

        // COFF header, "Machine" (PE Format): what firmware of the board looks at first.
        let boot_file = std::fs::read(workshop.output(&format!("{name}.efi"))).unwrap();
        let header = u32::from_le_bytes(boot_file[0x3c..0x40].try_into().unwrap()) as usize;
        assert_eq!(boot_file[header..header + 6], *b"PE\0\0\x64\xaa");
        let command_line = workshop.boot_file(name).command_line.unwrap();
        assert!(command_line.contains("console=ttyAMA0"), "{command_line}");
    }
}

#[test]
fn what_is_for_another_machine_is_refused() {
    let layers = [Shape::ubuntu(ARM64).base()];
    let mut workshop = Workshop::new(ARM64, &layers);
    let amd64 = Workshop::new(AMD64, &[]);
    workshop.options.runtime = amd64.options.runtime.clone();
    let error = workshop.build().unwrap_err();
    assert_eq!(error.to_string(), "no Kiln binary for arm64: kiln is not built for arm64");
    assert!(error.hint().unwrap().contains("--runtime"));

    // The index has no such platform, and says what it has.
    let mut workshop = Workshop::new(ARM64, &layers);
    workshop.options.reading.registry.platform = Platform::linux("amd64");
    let error = workshop.build().unwrap_err().to_string();
    assert!(error.contains("amd64"), "{error}");

    // A stub of another machine, though its name is right.
    let stub = crate::programs::boot_program(AMD64, "stub");
    let path = "usr/lib/systemd/boot/efi/linuxaa64.efi.stub";
    let workshop = Workshop::new(ARM64, &[layers[0].clone(), vec![file(path, &stub)]]);
    let error = workshop.build().unwrap_err().to_string();
    assert_eq!(error, format!("{path}: it is not for arm64"));
}
