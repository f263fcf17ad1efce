//! temporary
#![allow(clippy::unwrap_used, clippy::print_stdout)]
use kiln_boot::*;
use kiln_tree::*;
use std::os::unix::ffi::OsStrExt;
fn add(tree: &mut Tree, store: &mut MemoryStore, dir: &std::path::Path, base: &std::path::Path) {
    for e in std::fs::read_dir(dir).unwrap() {
        let e = e.unwrap();
        let p = e.path();
        let rel = p.strip_prefix(base).unwrap().as_os_str().as_bytes().to_vec();
        let t = e.file_type().unwrap();
        if t.is_dir() {
            tree.insert(
                &rel,
                Node { kind: Kind::Directory(Default::default()), metadata: Metadata::directory() },
            )
            .unwrap();
            add(tree, store, &p, base);
        } else if t.is_symlink() {
            let l = std::fs::read_link(&p).unwrap();
            tree.insert(
                &rel,
                Node {
                    kind: Kind::Symlink(l.as_os_str().as_bytes().to_vec()),
                    metadata: Metadata::symlink(),
                },
            )
            .unwrap();
        } else if t.is_file() {
            let b = std::fs::read(&p).unwrap();
            let c = store.store(b.len() as u64, &mut &b[..]).unwrap();
            tree.insert(&rel, Node { kind: Kind::File(c), metadata: Metadata::file() }).unwrap();
        }
    }
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let root = std::path::Path::new(&a[1]);
    let mut tree = Tree::new();
    let mut store = MemoryStore::new();
    for d in ["boot", "usr/lib/modules", "usr/lib/firmware", "usr/lib/systemd/boot"] {
        let p = root.join(d);
        if p.exists() {
            tree.ensure_directory(d.as_bytes(), &Metadata::directory()).unwrap();
            add(&mut tree, &mut store, &p, root);
        }
    }
    let t = std::time::Instant::now();
    let kernel = Kernel::find(&tree, &store).unwrap();
    println!(
        "kernel {} {} {:?} {:?}",
        kernel.release,
        kernel.path,
        kernel.architecture,
        t.elapsed()
    );
    let t = std::time::Instant::now();
    let index = modules::index::ModuleIndex::load(&tree, &store, &kernel).unwrap();
    println!("index {:?}", t.elapsed());
    for c in [capability::RootCodec::Lz4, capability::RootCodec::Zstd] {
        println!("capability {c:?} {:?}", capability::check(&tree, &store, &kernel, &index, c));
    }
    let init = std::fs::read(&a[2]).unwrap();
    for set in [
        modules::sets::ModuleSet::Virtio,
        modules::sets::ModuleSet::Generic,
        modules::sets::ModuleSet::Full,
    ] {
        let t = std::time::Instant::now();
        let sel = modules::plan::Selection { set, extra: vec![] };
        let i = initramfs::build(&tree, &store, &kernel, &sel, &init).unwrap();
        println!(
            "{set}: {} bytes, unpacked {}, {} modules, firmware {:?}, {:?}",
            i.bytes.len(),
            i.unpacked_bytes,
            i.modules.len(),
            i.firmware.len(),
            t.elapsed()
        );
        if i.modules.len() < 120 {
            println!("  {}", i.modules.join(" "));
        }
        std::fs::write(format!("{}/initrd-{set}", a[3]), &i.bytes).unwrap();
        if set == modules::sets::ModuleSet::Virtio {
            if let Ok(p) = loader::BootPrograms::find(&tree, &store, kernel.architecture) {
                let t = std::time::Instant::now();
                let u = uki::assemble(
                    &p.stub,
                    &uki::UkiSections {
                        os_release: os_release::boot_file_text(
                            "Debian GNU/Linux 13 (trixie)",
                            os_release::Mode::System,
                        )
                        .as_bytes(),
                        command_line: b"console=ttyS0 panic=1 kiln.mode=system",
                        kernel_release: kernel.release.as_bytes(),
                        initrd: &i.bytes,
                        linux: &kernel.image,
                    },
                )
                .unwrap();
                println!("uki {} bytes {:?} loader {}", u.len(), t.elapsed(), p.loader_path);
                std::fs::write(format!("{}/kiln.efi", a[3]), &u).unwrap();
                println!("{}", uki::dump::dump(&uki::parse(&u).unwrap()));
            }
        }
    }
}
