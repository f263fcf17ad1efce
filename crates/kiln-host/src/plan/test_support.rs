//! A machine for table tests: generation 1 in slot A, generation 2 blessed and running in slot B.

use kiln_release::{BootFile, FORMAT, Release, Root, Sequence, Source};
use kiln_verity::{RootArgument, RootHash};

use crate::ledger::{Event, Failure, Ledger, Revision, Slot, Stage, State, Verification};
use crate::machine::{BootEntry, Booted, Machine, SlotPartition, SystemPartition};

/// The root hash of release `number`.
pub(crate) fn hash(number: u8) -> String {
    RootHash([number; 32]).to_string()
}

/// The manifest digest of release `number`.
pub(crate) fn digest(number: u8) -> &'static str {
    ["sha256:0", "sha256:1", "sha256:2", "sha256:3", "sha256:4"][usize::from(number)]
}

pub(crate) fn release(number: u8) -> Release {
    Release {
        format: FORMAT.into(),
        name: "edge".into(),
        version: number.to_string(),
        title: format!("Edge {number}"),
        sequence: Sequence(u64::from(number) * 10),
        architecture: "amd64".into(),
        kernel: "6.12.1".into(),
        profile: 1,
        tree_digest: hash(number),
        root: Root { length: 4096 * 3, hash: hash(number), data_blocks: 2, salt: hash(0) },
        boot_files: vec![BootFile { mode: "system".into(), length: 9, digest: hash(number) }],
        source: Source { kind: "oci".into(), manifest_digest: Some(digest(number).into()) },
        packages: Vec::new(),
        addons: Vec::new(),
        minimum_agent: "0.1.0".into(),
    }
}

pub(crate) fn revision(generation: u32, number: u8, slot: Slot, state: State) -> Revision {
    let failure = (state == State::Failed)
        .then(|| Failure { stage: Stage::Health, reason: "disk is read-only".into() });
    Revision {
        generation,
        slot,
        release: release(number),
        reference: None,
        digest: None,
        verification: Verification::Unverified,
        arguments: None,
        events: vec![Event { time: 1, state, failure }],
    }
}

pub(crate) fn entry(generation: u32, number: u8, slot: Option<Slot>, is_bad: bool) -> BootEntry {
    let name = kiln_boot::entry::EntryName { generation, counter: None };
    let name = if is_bad { name.bad() } else { name };
    let root = RootArgument { root: RootHash([number; 32]), data_blocks: 2, salt: [0; 32] };
    let (file, root) = (name.to_string(), Some(root));
    BootEntry { name, file, length: 1 << 20, root, slot, is_signed: false }
}

pub(crate) fn machine() -> Machine {
    Machine {
        disk: "/dev/vda".into(),
        sector_size: 512,
        booted: Booted {
            root_hash: hash(2),
            slot: Slot::B,
            generation: Some(2),
            is_recovery: false,
        },
        entries: vec![entry(2, 2, Some(Slot::B), false), entry(1, 1, Some(Slot::A), false)],
        staged: Vec::new(),
        slots: [(Slot::A, "/dev/vda3"), (Slot::B, "/dev/vda4")]
            .map(|(slot, node)| SlotPartition { slot, node: node.into(), length: 2 << 30 })
            .to_vec(),
        recovery: None,
        has_state: true,
        system_partition: SystemPartition {
            node: "/dev/vda2".into(),
            free: 1 << 30,
            cluster: 4096,
        },
        loaders: Vec::new(),
        notes: Vec::new(),
        delivered: None,
        origin: None,
        ledger: Ledger {
            next_generation: 3,
            revisions: vec![
                revision(1, 1, Slot::A, State::Blessed),
                revision(2, 2, Slot::B, State::Blessed),
            ],
            ..Ledger::default()
        },
    }
}
