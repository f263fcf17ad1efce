//! Layouts and archives from end to end: written here, damaged here, read through the public API.
//! What skopeo says about them is asked in kiln-lab.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::io::Read;
use std::path::{Path, PathBuf};

use kiln_registry::layout::{LayerCompression, WriteOptions, write_oci_archive, write_oci_layout};
use kiln_registry::{Digest, Error, Image, Options, Source, open};

/// A tar of one file with `size` bytes that compress a little.
fn layer(name: &str, size: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let content: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3f
        })
        .collect();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content.as_slice()).unwrap();
    builder.into_inner().unwrap()
}

fn options() -> Options {
    Options { platform: "linux/amd64".parse().unwrap(), ..Options::default() }
}

fn write_options(compression: LayerCompression) -> WriteOptions {
    WriteOptions {
        platform: "linux/amd64".parse().unwrap(),
        compression,
        reference: Some("test".into()),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        env: vec!["PATH=/bin".into()],
    }
}

fn write_layout(folder: &Path, layers: &[Vec<u8>], compression: LayerCompression) -> Digest {
    let mut readers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let mut readers: Vec<&mut dyn Read> =
        readers.iter_mut().map(|reader| reader as &mut dyn Read).collect();
    write_oci_layout(folder, &mut readers, &write_options(compression)).unwrap()
}

fn open_text(source: &str) -> Result<Image, Error> {
    open(&source.parse::<Source>()?, &options())
}

fn read_layer(image: &Image, index: usize) -> Result<Vec<u8>, std::io::Error> {
    let mut bytes = Vec::new();
    image.open_layer(index).map_err(std::io::Error::other)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

const ALL: [LayerCompression; 3] =
    [LayerCompression::None, LayerCompression::Gzip(6), LayerCompression::Zstd(3)];

#[test]
fn what_is_written_is_read_back() {
    let layers = [layer("small", 10), layer("large", 3_000_000)];
    for compression in ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layout");
        let digest = write_layout(&path, &layers, compression);
        let archive = folder.path().join("image.tar");
        let mut readers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
        let mut readers: Vec<&mut dyn Read> =
            readers.iter_mut().map(|reader| reader as &mut dyn Read).collect();
        let again = write_oci_archive(&archive, &mut readers, &write_options(compression)).unwrap();
        assert_eq!(digest, again, "layout and archive hold the same image");
        for source in [
            format!("oci:{}", path.display()),
            format!("oci:{}:test", path.display()),
            format!("oci-archive:{}", archive.display()),
        ] {
            let image = open_text(&source).unwrap();
            assert_eq!(image.manifest_digest, digest);
            assert_eq!(image.reference.as_deref(), Some("test"));
            assert_eq!(image.config.labels["a"], "b");
            assert_eq!(image.config.env, ["PATH=/bin"]);
            image.fetch(4).unwrap();
            for _ in 0..2 {
                for (index, expected) in layers.iter().enumerate() {
                    assert_eq!(image.layers[index].diff_id, Digest::of(expected));
                    assert!(read_layer(&image, index).unwrap() == *expected, "{source} {index}");
                }
            }
        }
    }
}

#[test]
fn written_bytes_are_golden() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("image.tar");
    let content = layer("a", 100);
    let options = write_options(LayerCompression::None);
    let digest = write_oci_archive(&archive, &mut [&mut content.as_slice()], &options).unwrap();
    let manifest = "sha256:1eb2ac2f03a82fe2ea21f7566e1a71124f3b9df2ed45a0208bb1d34b914ec5dc";
    assert_eq!(digest.to_string(), manifest);
    let bytes = std::fs::read(&archive).unwrap();
    assert_eq!(
        Digest::of(&bytes).to_string(),
        "sha256:2ac9a2b9e00bc7725ffabd30a7206dbf67bbe09c9f6c5c2cc45a418afe5beff0"
    );
}

/// The stored file of a layer.
fn blob_path(folder: &Path, image: &Image, index: usize) -> PathBuf {
    folder.join("blobs/sha256").join(image.layers[index].digest.hex())
}

#[test]
fn damage_is_named_by_digest_and_path() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage, &str); 4] = [
        ("cut", |bytes| bytes.truncate(bytes.len() / 2), "truncated"),
        ("longer", |bytes| bytes.push(0), "longer"),
        ("flipped", |bytes| bytes[700_000] ^= 1, "wrong digest"),
        ("flipped last", |bytes| *bytes.last_mut().unwrap() ^= 1, "wrong digest"),
    ];
    for compression in ALL {
        for (name, damage, expected) in damages {
            let folder = tempfile::tempdir().unwrap();
            write_layout(folder.path(), &[layer("a", 2_000_000)], compression);
            let image = open_text(&format!("oci:{}", folder.path().display())).unwrap();
            let path = blob_path(folder.path(), &image, 0);
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let error = read_layer(&image, 0).unwrap_err();
            let message = Error::from_io(&error).unwrap().to_string();
            assert!(message.contains(expected), "{name} {compression:?}: {message}");
            assert!(message.contains(&image.layers[0].digest.to_string()), "{message}");
            assert!(message.contains(path.to_str().unwrap()), "{message}");
        }
    }
}

/// Replaces a JSON blob's text and everything that points at it.
fn edit(folder: &Path, digest: Digest, from: &str, to: &str) {
    let blobs = folder.join("blobs/sha256");
    let text = std::fs::read_to_string(blobs.join(digest.hex())).unwrap();
    assert!(text.contains(from), "{text}");
    let new = text.replace(from, to);
    std::fs::write(blobs.join(Digest::of(new.as_bytes()).hex()), &new).unwrap();
    let index = std::fs::read_to_string(folder.join("index.json")).unwrap();
    let index = index
        .replace(&digest.to_string(), &Digest::of(new.as_bytes()).to_string())
        .replace(&format!("\"size\":{}", text.len()), &format!("\"size\":{}", new.len()));
    std::fs::write(folder.join("index.json"), index).unwrap();
}

#[test]
fn lying_manifests_are_refused() {
    let gzip = "layer.v1.tar+gzip";
    for (from, to, expected) in [
        (gzip, "layer.v1.tar+zstd", "should be zstd but looks like gzip"),
        (gzip, "layer.v1.tar", "should be an uncompressed tar but looks like gzip"),
        (gzip, "layer.v1.tar+lzma", "unsupported media type"),
        ("image.config.v1+json", "artifact.config.v1+json", "unsupported media type"),
        ("\"schemaVersion\":2", "\"schemaVersion\":1", "schema version 1"),
        ("\"layers\":[{", "\"layers\":[],\"x\":[{", "0 layers while its configuration has 1"),
        ("\"digest\":\"sha256:", "\"digest\":\"sha512:", "only sha256"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let digest = write_layout(folder.path(), &[layer("a", 100)], LayerCompression::Gzip(6));
        edit(folder.path(), digest, from, to);
        let message = match open_text(&format!("oci:{}", folder.path().display())) {
            Ok(image) => read_layer(&image, 0).unwrap_err().to_string(),
            Err(Error::Json { source, .. }) => source.to_string(),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(expected), "{from} -> {to}: {message}");
    }
}

#[test]
fn a_wrong_diff_id_shows_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let content = layer("a", 100_000);
    write_layout(folder.path(), std::slice::from_ref(&content), LayerCompression::Zstd(3));
    let mut image = open_text(&format!("oci:{}", folder.path().display())).unwrap();
    image.layers[0].diff_id = Digest::of(b"other");
    let mut stream = image.open_layer(0).unwrap();
    let mut bytes = vec![0; content.len()];
    stream.read_exact(&mut bytes).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(matches!(Error::from_io(&error), Some(Error::DiffIdMismatch { .. })), "{error}");
    assert!(stream.read(&mut [0]).is_err(), "a failed stream never ends well");
}

#[test]
fn bombs_are_stopped_by_ratio() {
    for compression in [LayerCompression::Gzip(9), LayerCompression::Zstd(3)] {
        let folder = tempfile::tempdir().unwrap();
        write_layout(folder.path(), &[vec![0; 8 << 20]], compression);
        let source: Source = format!("oci:{}", folder.path().display()).parse().unwrap();
        let mut strict = options();
        strict.limits.max_uncompressed_ratio = 10;
        strict.limits.free_uncompressed_bytes = 1 << 20;
        let error = read_layer(&open(&source, &strict).unwrap(), 0).unwrap_err();
        assert!(matches!(Error::from_io(&error), Some(Error::Ratio { .. })), "{error}");
        assert!(read_layer(&open(&source, &options()).unwrap(), 0).is_ok());
    }
}

#[test]
fn another_platform_is_refused_with_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    write_layout(folder.path(), &[], LayerCompression::None);
    let source: Source = format!("oci:{}", folder.path().display()).parse().unwrap();
    let other = Options { platform: "linux/riscv64".parse().unwrap(), ..Options::default() };
    let error = open(&source, &other).unwrap_err();
    assert!(error.to_string().ends_with("for linux/riscv64; it has linux/amd64"), "{error}");
    assert!(error.hint().unwrap().contains("--platform"));
}

#[test]
fn nested_indexes_lead_to_the_platform_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = write_layout(folder.path(), &[layer("a", 10)], LayerCompression::None);
    let blobs = folder.path().join("blobs/sha256");
    let mut size = std::fs::metadata(blobs.join(manifest.hex())).unwrap().len();
    let mut digest = manifest;
    let mut media_type = "application/vnd.oci.image.manifest.v1+json";
    for depth in 1..=5 {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"mediaType":"{media_type}","digest":"{digest}","size":{size},
                  "platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        digest = Digest::of(index.as_bytes());
        size = index.len() as u64;
        media_type = "application/vnd.oci.image.index.v1+json";
        std::fs::write(blobs.join(digest.hex()), &index).unwrap();
        let top = format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}]}}"#
        );
        std::fs::write(folder.path().join("index.json"), top).unwrap();
        let opened = open_text(&format!("oci:{}", folder.path().display()));
        if depth <= 4 {
            assert_eq!(opened.unwrap().manifest_digest, manifest, "depth {depth}");
        } else {
            assert!(matches!(opened, Err(Error::TooLarge { .. })), "depth {depth}");
        }
    }
}

#[test]
fn plain_sources_are_no_images() {
    assert!(matches!(open_text("dir:/"), Err(Error::NotAnImage { .. })));
    assert!(matches!(open_text("oci:/nonexistent"), Err(Error::Io { .. })));
}
