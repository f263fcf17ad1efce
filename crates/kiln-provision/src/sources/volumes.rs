//! Which labelled volumes hold configuration, and which of their files.
//!
//! The choice is pure: devices with their first bytes in, volumes out. Two volumes with one label are refused
//! by name rather than one of them taken: which device the kernel found first is chance. How a volume is
//! mounted is behind [`Volumes`], so that tests have volumes without a kernel's leave.

use super::folders::{file, folder};
use super::{Document, MAXIMUM_DOCUMENTS, Place};
use crate::storage::signature::{self, Signature};
use crate::{Error, Root};

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDevice {
    /// Its node, `/dev/sdb1`.
    pub node: String,
    /// The node of the disk of which it is a partition.
    pub disk: Option<String>,
    /// Its first bytes, as many as file systems have marks in.
    pub head: Vec<u8>,
}

/// Block devices and what lies on them.
pub trait Volumes {
    /// All devices that may hold a volume.
    ///
    /// # Errors
    /// They cannot be listed.
    fn list(&mut self) -> Result<Vec<BlockDevice>, Error>;

    /// Mounts a device read-only, hands its root to `look`, and takes it out again.
    ///
    /// # Errors
    /// It cannot be mounted; what `look` says.
    fn look(
        &mut self,
        node: &str,
        format: &str,
        look: &mut dyn FnMut(&Root) -> Result<(), Error>,
    ) -> Result<(), Error>;
}

/// A machine without any further volume.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoVolumes;

impl Volumes for NoVolumes {
    fn list(&mut self) -> Result<Vec<BlockDevice>, Error> {
        Ok(Vec::new())
    }

    fn look(
        &mut self,
        node: &str,
        _: &str,
        _: &mut dyn FnMut(&Root) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Err(Error::NotHere { what: format!("mounting {node}") })
    }
}

/// One kind of volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Label, compared without case, as firmware and FAT do.
    pub(crate) label: &'static str,
    /// Single files that are documents, whatever their names end in.
    pub(crate) files: &'static [&'static str],
    /// Whether all documents in it count, too.
    pub(crate) whole: bool,
    /// Where host name and keys stand, if anywhere.
    pub(crate) metadata: Option<&'static str>,
}

/// cloud-init's NoCloud.
pub(crate) const CIDATA: Volume =
    Volume { label: "CIDATA", files: &["/user-data"], whole: true, metadata: Some("/meta-data") };
/// OpenStack's configuration drive.
pub(crate) const CONFIG_DRIVE: Volume = Volume {
    label: "config-2",
    files: &["/openstack/latest/user_data"],
    whole: false,
    metadata: Some("/openstack/latest/meta_data.json"),
};

/// The volumes: both of the above, the drive of Anaconda's users, Elemental's, and one for a bare Ignition
/// file.
pub(crate) const VOLUMES: [Volume; 5] = [
    CIDATA,
    CONFIG_DRIVE,
    Volume { label: "OEMDRV", files: &[], whole: true, metadata: None },
    Volume { label: "COS_OEM", files: &[], whole: true, metadata: None },
    Volume { label: "ignition", files: &["/config.ign"], whole: true, metadata: None },
];

/// Formats that are mounted for this: what sticks and virtual drives have, and Elemental's own.
const FORMATS: [&str; 5] = ["vfat", "iso9660", "ext4", "ext3", "ext2"];

/// What is on a volume.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) documents: Vec<Document>,
    /// What stands where host name and keys do.
    pub(crate) metadata: Option<Vec<u8>>,
}

/// A device that was chosen for a kind of volume, with its format; or the names of all that could be.
pub(crate) type Choice = Result<(String, &'static str), Vec<String>>;

/// The devices that hold volumes of these kinds, in the order of the kinds.
pub(crate) fn choose(devices: &[BlockDevice], kinds: &[Volume]) -> Vec<(Volume, Choice)> {
    let signed: Vec<(&BlockDevice, Signature)> = devices
        .iter()
        .filter_map(|device| Some((device, signature::read(&device.head)?)))
        .filter(|(_, signature)| FORMATS.contains(&signature.format))
        .collect();
    let is_volume = |node: &str| signed.iter().any(|(device, _)| device.node == node);
    let mut chosen = Vec::new();
    for kind in kinds {
        let found: Vec<_> = signed
            .iter()
            .filter(|(device, signature)| {
                // A disk that is one volume from its first byte on may have a table, too: an ISO on a
                // stick. The partitions in it then are the same volume again.
                let is_copy = device.disk.as_deref().is_some_and(is_volume);
                !is_copy && signature.label.trim().eq_ignore_ascii_case(kind.label)
            })
            .collect();
        match found.as_slice() {
            [] => {}
            [(device, signature)] => {
                chosen.push((*kind, Ok((device.node.clone(), signature.format))));
            }
            several => {
                let nodes = several.iter().map(|(device, _)| device.node.clone()).collect();
                chosen.push((*kind, Err(nodes)));
            }
        }
    }
    chosen
}

/// The documents of one volume.
pub(crate) fn documents(
    kind: Volume,
    node: &str,
    format: &str,
    volumes: &mut dyn Volumes,
) -> Result<Found, Error> {
    let mut found = Found::default();
    volumes.look(node, format, &mut |root| {
        let mut documents = Vec::new();
        for path in kind.files {
            documents.extend(file(root, path, Place::Volume)?);
        }
        if kind.whole {
            let others = folder(root, "/", Place::Volume)?;
            let is_new = |one: &Document| !kind.files.contains(&one.name.as_str());
            documents.extend(others.into_iter().filter(is_new));
        }
        documents.truncate(MAXIMUM_DOCUMENTS);
        for document in &mut documents {
            document.name = format!("{}:{}", kind.label, document.name);
        }
        let metadata = match kind.metadata {
            Some(path) => file(root, path, Place::Volume)?.into_iter().next(),
            None => None,
        };
        found = Found { documents, metadata: metadata.map(|one| one.bytes) };
        Ok(())
    })?;
    Ok(found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The first bytes of an ISO with a label.
    pub(crate) fn iso(label: &str) -> Vec<u8> {
        let mut head = vec![0; signature::LENGTH];
        head[0x8000..0x8006].copy_from_slice(b"\x01CD001");
        head[0x8028..0x8048].fill(b' ');
        head[0x8028..0x8028 + label.len()].copy_from_slice(label.as_bytes());
        head
    }

    /// Devices whose volumes are folders.
    #[derive(Default)]
    pub(crate) struct Folders {
        pub(crate) devices: Vec<(BlockDevice, Option<tempfile::TempDir>)>,
        pub(crate) looked: Vec<String>,
    }

    impl Folders {
        pub(crate) fn add(&mut self, node: &str, label: &str, files: &[(&str, &str)]) {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = folder.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            let device = BlockDevice { node: node.into(), disk: None, head: iso(label) };
            self.devices.push((device, Some(folder)));
        }
    }

    impl Volumes for Folders {
        fn list(&mut self) -> Result<Vec<BlockDevice>, Error> {
            Ok(self.devices.iter().map(|(device, _)| device.clone()).collect())
        }

        fn look(
            &mut self,
            node: &str,
            format: &str,
            look: &mut dyn FnMut(&Root) -> Result<(), Error>,
        ) -> Result<(), Error> {
            self.looked.push(format!("{node} {format}"));
            let (_, folder) = self.devices.iter().find(|(one, _)| one.node == node).unwrap();
            look(&Root::open(folder.as_ref().unwrap().path())?)
        }
    }

    #[test]
    fn a_label_that_two_devices_have_is_refused() {
        let device = |node: &str, disk: Option<&str>, head: Vec<u8>| BlockDevice {
            node: node.into(),
            disk: disk.map(str::to_owned),
            head,
        };
        let mut gpt = vec![0; signature::LENGTH];
        gpt[512..520].copy_from_slice(b"EFI PART");
        let devices = [
            device("/dev/sda", None, gpt),
            device("/dev/sda1", Some("/dev/sda"), iso("OEMDRV")),
            device("/dev/sdb", None, iso("cidata")),
            device("/dev/sdb1", Some("/dev/sdb"), iso("cidata")),
            device("/dev/sdc", None, iso("config-2")),
            device("/dev/sdd", None, iso("CONFIG-2")),
            device("/dev/sde", None, iso("data")),
            device("/dev/sdf", None, Vec::new()),
        ];
        let chosen: Vec<_> = choose(&devices, &VOLUMES)
            .into_iter()
            .map(|(volume, found)| (volume.label, found.map(|(node, _)| node)))
            .collect();
        assert_eq!(
            chosen,
            [
                ("CIDATA", Ok("/dev/sdb".to_owned())),
                ("config-2", Err(vec!["/dev/sdc".to_owned(), "/dev/sdd".to_owned()])),
                ("OEMDRV", Ok("/dev/sda1".to_owned())),
            ]
        );
    }

    #[test]
    fn files_of_a_volume_are_taken_once() {
        let mut folders = Folders::default();
        let files = [("user-data", "a"), ("meta-data", "m"), ("z.yaml", "b"), ("notes.txt", "c")];
        folders.add("/dev/sdb", "cidata", &files);
        let found = documents(CIDATA, "/dev/sdb", "iso9660", &mut folders).unwrap();
        let names: Vec<_> = found.documents.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["CIDATA:/user-data", "CIDATA:/z.yaml"]);
        assert_eq!(found.metadata.as_deref(), Some(&b"m"[..]));
        let ignition = VOLUMES[4];
        folders.add("/dev/sdc", "ignition", &[("config.ign", "{}"), ("b.ign", "{}")]);
        let found = documents(ignition, "/dev/sdc", "iso9660", &mut folders).unwrap();
        let names: Vec<_> = found.documents.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["ignition:/config.ign", "ignition:/b.ign"]);
    }
}
