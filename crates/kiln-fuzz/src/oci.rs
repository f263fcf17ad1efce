//! Container images: archives, their documents, and the texts of registries.

use std::fs::File;

use kiln_registry::{Limits, Options, Platform, Reference, Source, fuzzing};
use sha2::{Digest as _, Sha256};

use crate::text::lossy;
use crate::{memory, repair};

/// Bounds small enough that an input can reach them.
const LIMITS: Limits = Limits {
    manifest_bytes: 64 << 10,
    config_bytes: 64 << 10,
    max_blob_bytes: 1 << 20,
    max_uncompressed_ratio: 100,
    free_uncompressed_bytes: 1 << 20,
    max_layers: 20,
    index_depth: 4,
    archive_members: 500,
    zstd_window_log: 27,
};
/// What the marker file of a layout says (image-layout.md).
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Documents of one input.
const DOCUMENTS: usize = 10;

fn options() -> Options {
    Options { platform: Platform::linux("amd64"), limits: LIMITS, ..Options::default() }
}

/// Opens any tar as both kinds of archive and reads the layers it lists.
pub fn image_archive(data: &[u8]) -> bool {
    let mut bytes = data.to_vec();
    repair::tar(&mut bytes);
    let file = memory::file_of(&bytes);
    let (layout, docker) = (open(&file, true), open(&file, false));
    layout || docker
}

/// Opens an OCI layout with any documents, separated by zero bytes. The first is `index.json`; `@1`
/// to `@9` stand for digest and size of the others, which are blobs.
pub fn oci_image(data: &[u8]) -> bool {
    let documents = documents(data, |bytes| {
        format!(r#""digest":"sha256:{}","size":{}"#, sha256(bytes), bytes.len())
    });
    let mut members = vec![("oci-layout".to_owned(), LAYOUT.to_vec())];
    for (number, bytes) in documents.into_iter().enumerate() {
        let name = match number {
            0 => "index.json".to_owned(),
            _ => format!("blobs/sha256/{}", sha256(&bytes)),
        };
        members.push((name, bytes));
    }
    open(&archive(&members), true)
}

/// Opens what `docker save` writes with any documents, separated by zero bytes. The first is
/// `manifest.json`; the others are members named `1` to `9`, whose digests `@1` to `@9` stand for.
pub fn docker_image(data: &[u8]) -> bool {
    let documents = documents(data, |bytes| format!("sha256:{}", sha256(bytes)));
    let mut members = Vec::new();
    for (number, bytes) in documents.into_iter().enumerate() {
        let name = if number == 0 { "manifest.json".to_owned() } else { number.to_string() };
        members.push((name, bytes));
    }
    open(&archive(&members), false)
}

/// Opens an archive and, if it holds an image, reads its layers; whether it does.
fn open(file: &File, is_layout: bool) -> bool {
    let (path, reference) = (memory::path(file), None);
    let source = match is_layout {
        true => Source::OciArchive { path, reference },
        false => Source::DockerArchive { path, reference },
    };
    let Ok(image) = kiln_registry::open(&source, &options()) else { return false };
    assert!(image.layers.len() <= LIMITS.max_layers);
    assert_eq!(image.layers.len(), image.config.diff_ids.len());
    for (index, layer) in image.layers.iter().enumerate() {
        assert!(layer.size <= LIMITS.max_blob_bytes);
        if let Ok(length) = image.verify_layer(index) {
            let allowed =
                LIMITS.free_uncompressed_bytes + layer.size * LIMITS.max_uncompressed_ratio;
            assert!(length <= allowed, "{length} bytes out of {}", layer.size);
        }
    }
    true
}

/// Reads registries.conf, an auth file and a login challenge, separated by zero bytes.
pub fn registry_text(data: &[u8]) -> bool {
    let mut texts = data.splitn(3, |byte| *byte == 0);
    let mut text = || texts.next().unwrap_or_default();
    let (configuration, logins, challenge) = (text(), text(), lossy(text()));
    let configuration = memory::file_of(configuration);
    for name in ["registry.example/team/system:1", "registry.example:5000/library/debian"] {
        let Ok(reference) = name.parse::<Reference>() else { panic!("{name} is a reference") };
        if let Ok(places) = fuzzing::places(&memory::path(&configuration), &reference) {
            assert!(!places.is_empty(), "nowhere to ask");
        }
    }
    let logins = memory::file_of(logins);
    if let Ok(Some(login)) = fuzzing::login(&memory::path(&logins), "registry.example", "team/one")
    {
        let clean = login.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(clean, "a login that would break its header: {login:?}");
    }
    fuzzing::challenge(&challenge);
    true
}

/// Reads what users write for a source: written again it means the same.
pub fn source_name(data: &[u8]) -> bool {
    let text = lossy(data);
    let mut accepted = false;
    if let Ok(source) = text.parse::<Source>() {
        accepted = true;
        let again = source.to_string().parse::<Source>();
        assert!(again.as_ref().is_ok_and(|again| *again == source), "{source:?} became {again:?}");
    }
    if let Ok(reference) = text.parse::<Reference>() {
        let again = reference.to_string().parse::<Reference>();
        let same = again.as_ref().is_ok_and(|again| *again == reference);
        assert!(same, "{reference:?} became {again:?}");
    }
    // Longer ones are cut where they are shown.
    if text.len() <= 60
        && let Ok(platform) = text.parse::<Platform>()
    {
        let again = platform.to_string().parse::<Platform>();
        assert!(again.is_ok_and(|again| again.accepts(&platform)), "{platform:?}");
    }
    accepted
}

/// Documents of an input, each with the names of later ones filled in: the last one first, so that
/// an index can name a manifest that names a configuration.
fn documents(data: &[u8], name: impl Fn(&[u8]) -> String) -> Vec<Vec<u8>> {
    let mut documents: Vec<Vec<u8>> =
        data.splitn(DOCUMENTS, |byte| *byte == 0).map(<[u8]>::to_vec).collect();
    for number in (1..documents.len()).rev() {
        let mark = [b'@', b'0' + number as u8];
        let name = name(&documents[number]).into_bytes();
        for document in &mut documents[..number] {
            *document = replace(document, &mark, &name);
        }
    }
    documents
}

fn replace(text: &[u8], mark: &[u8; 2], with: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        if rest.starts_with(mark) {
            out.extend_from_slice(with);
            rest = &rest[mark.len()..];
        } else {
            out.push(first);
            rest = behind;
        }
    }
    out
}

/// A tar of plain files.
fn archive(members: &[(String, Vec<u8>)]) -> File {
    let mut tar = Vec::new();
    for (name, bytes) in members {
        let mut header = [0; repair::TAR_BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000644");
        header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        repair::tar(&mut header);
        tar.extend_from_slice(&header);
        tar.extend_from_slice(bytes);
        tar.resize(tar.len().next_multiple_of(repair::TAR_BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * repair::TAR_BLOCK, 0);
    memory::file_of(&tar)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
