//! Rules of merging, one case each: what upper layers hide, what they keep, what is refused.

mod support;

use kiln_tree::{Error, Limits, MemoryStore};
use support::{Layer, listing, merge, merge_bytes};

#[test]
fn upper_layers_decide_what_is_seen() {
    let new = Layer::new;
    let cases: Vec<(&str, Vec<Layer>, &[&str])> = vec![
        (
            "a file replaces a file, directories merge, upper metadata stays",
            vec![
                new().directory("a/", 0o700).file("a/x", "new"),
                new().directory("a", 0o755).file("a/x", "old").file("a/y", "kept"),
            ],
            &["a/ 700", "a/x: new", "a/y: kept"],
        ),
        (
            "a whiteout hides lower layers, not its own",
            vec![
                new().file("a/.wh.x", "").file("b/.wh.gone", "").file("b/gone", "again"),
                new().file("a/x", "1").file("a/y", "2").file("b/gone", "3"),
            ],
            &["a/ 755", "a/y: 2", "b/ 755", "b/gone: again"],
        ),
        (
            "a whiteout of a directory hides all below, also from a middle layer",
            vec![new().file("top", ""), new().file(".wh.d", ""), new().file("d/e/f", "")],
            &["top: "],
        ),
        (
            "an opaque directory hides lower entries but stays itself, wherever the marker stands",
            vec![
                new().file("d/mine", "1").file("d/.wh..wh..opq", "").file("d/also", "2"),
                new().directory("d", 0o750).file("d/yours", "3"),
            ],
            &["d/ 750", "d/also: 2", "d/mine: 1"],
        ),
        (
            "overlayfs's own spellings",
            vec![
                new()
                    .raw(b'3', "w", b"", |header| {
                        header.set_device_major(0).unwrap();
                        header.set_device_minor(0).unwrap();
                    })
                    .record("SCHILY.xattr.trusted.overlay.opaque", b"y")
                    .directory("o", 0o711),
                new().file("w", "1").file("o/x", "2"),
            ],
            &["o/ 711"],
        ),
        (
            "a directory over a file over a directory starts empty",
            vec![new().directory("a", 0o755), new().file("a", "file"), new().file("a/lowest", "")],
            &["a/ 755"],
        ),
        (
            "a file or link over a directory hides all of it",
            vec![
                new().file("a", "file").symlink("b", "c"),
                new().file("a/x", "").file("b/y", "").file("c/z", ""),
            ],
            &["a: file", "b -> c", "c/ 755", "c/z: "],
        ),
        (
            "an implied directory takes its metadata from the first layer that has it",
            vec![
                new().file("a/b/top", ""),
                new().file("a/mid", "").directory("a/b", 0o500),
                new().directory("a", 0o711).directory("a/b", 0o777),
            ],
            &["a/ 711", "a/b/ 500", "a/b/top: ", "a/mid: "],
        ),
        (
            "in one layer the last entry wins, and a file takes the directory away",
            vec![
                new()
                    .file("x", "1")
                    .file("x", "2")
                    .directory("d", 0o700)
                    .file("d/kept", "")
                    .directory("d", 0o711)
                    .file("e/gone", "")
                    .file("e", "file"),
            ],
            &["d/ 711", "d/kept: ", "e: file", "x: 2"],
        ),
        (
            "names have one spelling",
            vec![new().file("./a//b", "1").file("/c", "2").directory("./", 0o700)],
            &["a/ 755", "a/b: 1", "c: 2"],
        ),
        (
            "AUFS's own files are nothing",
            vec![new().file(".wh..wh.aufs", "").file(".wh..wh.plnk/1.2", "").file("a", "")],
            &["a: "],
        ),
        (
            "whiteouts below directories that only lower layers have",
            vec![
                new().file("p/q/.wh.x", ""),
                new().file("p/q/x/1", "").directory("p/q", 0o700).file("p/q/y", ""),
                new().file("p/q/x", "").file("p/z", ""),
            ],
            &["p/ 755", "p/q/ 700", "p/q/y: ", "p/z: "],
        ),
    ];
    for (case, layers, expected) in cases {
        let (tree, store) = merge(layers).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(listing(&tree, &store), expected, "{case}");
    }
}

#[test]
fn hard_links_find_their_node() {
    let new = Layer::new;
    let cases: Vec<(&str, Vec<Layer>, &[&str])> = vec![
        (
            "inside a layer",
            vec![new().file("a", "1").link("b", "./a").link("c/d", "/b")],
            &["a: 1", "b = a", "c/ 755", "c/d = a"],
        ),
        (
            "the target is replaced afterwards",
            vec![new().file("a", "1").link("b", "a").file("a", "2")],
            &["a: 2", "b: 1"],
        ),
        (
            "the target is hidden by an upper layer: the second reading",
            vec![new().file("a", "top"), new().file("a", "old").link("b", "a").link("c", "b")],
            &["a: top", "b: old", "c = b"],
        ),
        (
            "the target is in a lower layer",
            vec![new().link("b", "a"), new().file("x", ""), new().file("a", "low")],
            &["a: low", "b = a", "x: "],
        ),
        (
            "the target is in a lower layer and hidden in the end",
            vec![
                new().file(".wh.a", "").link("c", "b"),
                new().link("b", "a"),
                new().link("a", "z").file("z", "late"),
                new().file("z", "low"),
            ],
            &["b: low", "c = b", "z: late"],
        ),
        (
            "the lower target is itself a link to a hidden file",
            vec![
                new().file("z", "top").file("t", "top"),
                new().link("p", "t"),
                new().file("z", "low").link("t", "z"),
            ],
            &["p: low", "t: top", "z: top"],
        ),
        (
            "nobody misses a link that is hidden",
            vec![new().file("b", "top"), new().link("b", "nothing")],
            &["b: top"],
        ),
        ("to a symbolic link", vec![new().symlink("a", "x").link("b", "a")], &["a -> x", "b = a"]),
    ];
    for (case, layers, expected) in cases {
        let (tree, store) = merge(layers).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(listing(&tree, &store), expected, "{case}");
    }
}

#[test]
fn hidden_contents_are_not_stored() {
    let layers = vec![
        Layer::new()
            .file("a", "top")
            .file(".wh.w", "")
            .file("o/.wh..wh..opq", "")
            .symlink("l", "a"),
        Layer::new()
            .file("a", "x")
            .file("w/x", "x")
            .file("o/x", "x")
            .file("l/x", "x")
            .file("n", "y"),
    ];
    let (tree, store) = merge(layers).unwrap();
    assert_eq!(store.len(), 2, "only `a` of the top and `n` of the lower layer");
    assert_eq!(tree.node_limit() as u64, tree.entry_count(), "no node is left over");
}

#[test]
fn device_nodes_are_for_dev_alone_unless_allowed() {
    let node =
        |path| Layer::new().raw(b'4', path, b"", |header| header.set_device_major(8).unwrap());
    let run = |path, limits| {
        merge_bytes(&mut MemoryStore::new(), &[node(path).finished()], limits).map(drop)
    };
    run("dev/sda", Limits::default()).unwrap();
    for path in ["sda", "etc/sda", "devices/sda"] {
        let error = run(path, Limits::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("layer layer0: `{path}` is refused: device nodes belong into /dev")
        );
        run(path, Limits { device_nodes: true, ..Limits::default() }).unwrap();
    }
}

#[test]
fn what_is_refused_names_layer_and_path() {
    let new = Layer::new;
    let cases: Vec<(&str, Vec<Layer>, &str)> = vec![
        (
            "dots",
            vec![new().file("a/../b", "")],
            "layer layer0: `a/../b` is refused: it has a `..` component",
        ),
        (
            "through a link of the same layer",
            vec![new().symlink("a", "/etc").file("a/b", "")],
            "layer layer0: `a/b` goes through `a`, which is a symbolic link",
        ),
        (
            "through a file of the same layer",
            vec![new().file("a", "").file("a/b", "")],
            "layer layer0: `a/b` goes through `a`, which is not a directory",
        ),
        (
            "through a link of a lower layer",
            vec![new().file("top", ""), new().file("lib/x/y", ""), new().symlink("lib", "usr/lib")],
            "layer layer1: `lib/x` goes through `lib`, which is a symbolic link in layer layer2",
        ),
        (
            "link to nothing",
            vec![new().link("b", "none"), new().file("a", "")],
            "layer layer0: `b` is a hard link to `none`, which neither its layer nor a lower one has",
        ),
        (
            "link to a directory",
            vec![new().directory("d", 0o755).link("b", "d")],
            "layer layer0: `b` is a hard link to `d`, which is a directory",
        ),
        (
            "link to what a lower layer removed",
            vec![new().link("b", "a"), new().file(".wh.a", ""), new().file("a", "")],
            "layer layer0: `b` is a hard link to `a`, which a lower layer removes",
        ),
        (
            "link to what a lower layer covers",
            vec![new().link("b", "d/a"), new().file("d", ""), new().file("d/a", "")],
            "layer layer0: `b` is a hard link to `d/a`, which is below something that is not a directory",
        ),
        (
            "whiteout of nothing",
            vec![new().file("a/.wh.", "")],
            "layer layer0: `a/.wh.` is refused: it is a whiteout of nothing",
        ),
        (
            "whiteout of dots",
            vec![new().file(".wh...", "")],
            "layer layer0: `.wh...` is refused: it is a whiteout of nothing",
        ),
        (
            "below a whiteout",
            vec![new().file(".wh.a/b", "")],
            "layer layer0: `.wh.a/b` is refused: it lies below a whiteout",
        ),
        (
            "root",
            vec![new().file("./", "")],
            "layer layer0: `/` is refused: the root must be a directory",
        ),
        (
            "link out of the tree",
            vec![new().file("a", "").link("b", "../../etc/shadow")],
            "layer layer0: `../../etc/shadow` is refused: it has a `..` component",
        ),
    ];
    for (case, layers, expected) in cases {
        let error = merge(layers).map(drop).unwrap_err();
        assert_eq!(error.to_string(), expected, "{case}");
    }
}

#[test]
fn limits_are_kept() {
    let sample = vec![
        Layer::new()
            .record("SCHILY.xattr.user.x", b"0123456789")
            .file("dir/name", "0123456789")
            .symlink("link", "target")
            .finished(),
        Layer::new().file("dir/name", "0123456789").finished(),
    ];
    let run = |limits| merge_bytes(&mut MemoryStore::new(), &sample, limits).map(drop);
    // Three entries and one implied directory above, one of each below.
    let fits = Limits {
        entries: 5,
        path_bytes: 8,
        name_bytes: 4,
        symlink_bytes: 6,
        total_bytes: 20,
        file_bytes: 10,
        xattr_bytes: 16,
        device_nodes: false,
    };
    run(fits).unwrap();
    let cases = [
        ("entries", Limits { entries: 4, ..fits }),
        ("bytes of a path", Limits { path_bytes: 7, ..fits }),
        ("bytes of a name", Limits { name_bytes: 3, ..fits }),
        ("bytes of a symbolic link", Limits { symlink_bytes: 5, ..fits }),
        ("bytes of files", Limits { total_bytes: 19, ..fits }),
        ("bytes of one file", Limits { file_bytes: 9, ..fits }),
        ("bytes of extended attributes", Limits { xattr_bytes: 15, ..fits }),
    ];
    for (expected, limits) in cases {
        match run(limits) {
            Err(Error::Limit { what, origin, path, .. }) => {
                assert_eq!(what, expected);
                assert!(origin.starts_with("layer layer") && !path.is_empty());
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}
