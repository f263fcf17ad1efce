//! What skopeo makes of our images, and we of what skopeo makes: the same tree, wherever it goes.
//!
//! The lab's registry is judged along the way: a client that nobody here wrote pushes to it and
//! pulls from it, with TLS, tokens and cross-mounts.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::path::Path;

use kiln_lab::registry::{Access, Settings, Tls};
use kiln_lab::{Failure, Oracle, Registry};
use kiln_registry::layout::{LayerCompression, WriteOptions, write_oci_archive, write_oci_layout};
use kiln_registry::{Digest, Network, Options, Source, open};
use kiln_tree::{LayerMerge, MemoryStore, tree_digest};

/// Two layers with what layers have: directories, links, long names, attributes, a whiteout.
fn layers() -> [Vec<u8>; 2] {
    let mut below = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, content: &[u8], link: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o640 });
        header.set_uid(7);
        header.set_mtime(1_700_000_000);
        match link {
            "" => below.append_data(&mut header, name, content).unwrap(),
            link => below.append_link(&mut header, name, link).unwrap(),
        }
    };
    let noise: Vec<u8> =
        (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    add(tar::EntryType::Directory, "usr", b"", "");
    add(tar::EntryType::Regular, "usr/noise", &noise, "");
    add(tar::EntryType::Link, "usr/again", b"", "usr/noise");
    add(tar::EntryType::Symlink, "bin", b"", "usr/bin");
    add(tar::EntryType::Regular, &format!("usr/{}", "n".repeat(200)), b"long", "");
    add(tar::EntryType::Regular, "usr/gone", b"old", "");
    let mut above = tar::Builder::new(Vec::new());
    above.append_pax_extensions([("SCHILY.xattr.user.a", &b"\0b"[..])]).unwrap();
    for (name, content) in [("usr/new", &b"new"[..]), ("usr/.wh.gone", b"")] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o4755);
        above.append_data(&mut header, name, content).unwrap();
    }
    [below.into_inner().unwrap(), above.into_inner().unwrap()]
}

fn options(folder: &Path, plain: Option<&Registry>) -> Options {
    Options {
        platform: "linux/amd64".parse().unwrap(),
        network: Network {
            plain_http: plain.iter().map(|registry| registry.host()).collect(),
            certificate_directories: vec![folder.join("certs.d")],
            auth_files: vec![folder.join("auth.json")],
            ..Network::default()
        },
        ..Options::default()
    }
}

/// The digest of the tree behind a source.
fn tree(source: &str, options: &Options) -> [u8; 32] {
    let image = open(&source.parse::<Source>().unwrap(), options).unwrap();
    let mut store = MemoryStore::new();
    let mut merge = LayerMerge::new(&mut store, kiln_tree::Limits::default());
    for index in (0..image.layers.len()).rev() {
        let name = image.layers[index].digest.to_string();
        let mut open = || {
            let layer = image.open_layer(index).map_err(std::io::Error::other)?;
            Ok(Box::new(layer) as Box<dyn std::io::Read>)
        };
        merge.layer(&name, &mut open).unwrap();
    }
    let tree = merge.finish().unwrap();
    tree_digest(&tree, &store).unwrap()
}

fn skopeo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<String, kiln_lab::Error> {
    Oracle::new("skopeo").arguments(arguments).run()
}

fn copy(options: &[&str], from: &str, to: &str) -> Result<(), kiln_lab::Error> {
    let fixed = ["--insecure-policy", "copy", "--quiet"];
    skopeo([&fixed, options, &[from, to]].concat()).map(drop)
}

/// Writes the image as a layout and as an archive; both hold the same.
fn write(folder: &Path, compression: LayerCompression) -> Digest {
    let options = WriteOptions {
        platform: "linux/amd64".parse().unwrap(),
        compression,
        reference: Some("test".into()),
        ..WriteOptions::default()
    };
    let [below, above] = layers();
    let layout = write_oci_layout(
        &folder.join("layout"),
        &mut [&mut below.as_slice(), &mut above.as_slice()],
        &options,
    );
    let archive = write_oci_archive(
        &folder.join("a.tar"),
        &mut [&mut below.as_slice(), &mut above.as_slice()],
        &options,
    );
    let digest = layout.unwrap();
    assert_eq!(digest, archive.unwrap());
    digest
}

#[test]
fn skopeo_agrees_with_what_we_write_and_we_with_its_copies() -> Result<(), Failure> {
    let mut trees = Vec::new();
    for compression in
        [LayerCompression::None, LayerCompression::Gzip(6), LayerCompression::Zstd(3)]
    {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let digest = write(folder.path(), compression);
        let registry = Registry::plain()?;
        let options = options(folder.path(), Some(&registry));
        let layout = format!("oci:{}:test", at("layout"));
        let archive = format!("oci-archive:{}:test", at("a.tar"));
        trees.push(tree(&layout, &options));
        for ours in [&layout, &archive] {
            let inspected = skopeo(["inspect", ours.as_str()])?;
            assert!(inspected.contains(&digest.to_string()), "{inspected}");
            trees.push(tree(ours, &options));
        }
        // skopeo's `dir:` is a format of its own, which only skopeo reads.
        let folder_of_skopeo = format!("dir:{}", at("dir"));
        copy(&[], &layout, &folder_of_skopeo)?;
        let mut copies = vec![
            (layout.clone(), format!("oci:{}:x", at("copied"))),
            (archive.clone(), format!("oci-archive:{}:x", at("o.tar"))),
            (folder_of_skopeo, format!("oci-archive:{}:x", at("back.tar"))),
            (layout.clone(), format!("docker://{}/a/b:v1", registry.host())),
        ];
        if !matches!(compression, LayerCompression::Zstd(_)) {
            // skopeo does not convert zstd layers to Docker's manifest.
            copies.push((layout.clone(), format!("docker-archive:{}:debian:12", at("d.tar"))));
        }
        for (from, to) in copies {
            copy(&["--dest-tls-verify=false"], &from, &to)?;
            trees.push(tree(&to, &options));
        }
        if !matches!(compression, LayerCompression::Zstd(_)) {
            let wrong = format!("docker-archive:{}:debian:13", at("d.tar")).parse().unwrap();
            let error = open(&wrong, &options).unwrap_err().to_string();
            assert!(error.contains("debian:12"), "{error}");
        }
        // And from the registry back, by skopeo as well.
        let pulled = format!("oci:{}:y", at("pulled"));
        let remote = format!("docker://{}/a/b:v1", registry.host());
        copy(&["--src-tls-verify=false"], &remote, &pulled)?;
        trees.push(tree(&pulled, &options));
    }
    assert_eq!(trees.len(), 3 * 8 + 2);
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "the trees differ: {trees:02x?}");
    Ok(())
}

#[test]
fn skopeo_agrees_with_the_labs_registry_about_tls_tokens_and_mounts() -> Result<(), Failure> {
    let folder = tempfile::tempdir().unwrap();
    let digest = write(folder.path(), LayerCompression::Gzip(6));
    let registry = Registry::start(Settings {
        tls: Some(Tls { client_certificate: true, ..Tls::default() }),
        access: Access::Token { user: Some(("u".into(), "p".into())), refresh: None },
        ..Settings::default()
    })?;
    let host = registry.host();
    let certificates = registry.certificates().unwrap();
    let own = certificates.write(&folder.path().join("certs.d"), &host, true)?;
    let own = own.display();
    let auth = folder.path().join("auth.json");
    std::fs::write(&auth, format!(r#"{{"auths":{{"{host}":{{"auth":"dTpw"}}}}}}"#)).unwrap();

    let layout = format!("oci:{}:test", folder.path().join("layout").display());
    let certs = format!("--dest-cert-dir={own}");
    let pushed = [certs.as_str(), "--dest-creds=u:p", "--preserve-digests"];
    assert!(copy(&[certs.as_str()], &layout, &format!("docker://{host}/a/b:v1")).is_err());
    copy(&pushed, &layout, &format!("docker://{host}/a/b:v1"))?;
    assert_eq!(registry.tags("a/b"), ["v1"]);
    assert!(registry.manifest("a/b", &digest.to_string()).is_some());
    let tags = skopeo([
        "list-tags",
        &format!("--cert-dir={own}"),
        "--creds=u:p",
        &format!("docker://{host}/a/b"),
    ]);
    assert!(tags?.contains("\"v1\""));

    let options = options(folder.path(), None);
    let expected = tree(&layout, &options);
    assert_eq!(tree(&format!("docker://{host}/a/b:v1"), &options), expected);

    // Within one registry nothing has to travel twice.
    registry.forget_requests();
    let source = format!("--src-cert-dir={own}");
    let within = [&pushed[..], &[source.as_str(), "--src-creds=u:p"]].concat();
    let (from, to) = (format!("docker://{host}/a/b:v1"), format!("docker://{host}/c:v2"));
    copy(&within, &from, &to)?;
    assert_eq!(tree(&format!("docker://{host}/c:v2"), &options), expected);
    let mounts = registry.requests_for("mount=");
    assert!(!mounts.is_empty() && mounts.iter().all(|request| request.status == 201), "{mounts:?}");
    Ok(())
}
