//! Crash replay: every disk that a power cut could leave behind.
//!
//! [`RecordingDevice`] notes writes and flushes; [`crash_states`] plays them back and shows each
//! distinct disk to a check. Between two flushes a disk may have kept any subset of the sectors
//! written, so small windows are tried with all subsets. Large ones are tried with every prefix,
//! every single loss, every single survivor and a fixed number of pseudo-random subsets: fixed,
//! because a test that fails must fail again.

use crate::device::{BlockDevice, MemoryDevice};
use std::io;

/// Sectors in a window up to which all subsets are tried (2^12 disks per window).
const EXHAUSTIVE_SECTORS: usize = 12;

/// Pseudo-random subsets tried of a larger window.
const SAMPLES: usize = 500;

/// What reached a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bytes at an offset.
    Write {
        /// Byte offset.
        offset: u64,
        /// What was written.
        bytes: Vec<u8>,
    },
    /// Everything before is on stable storage.
    Flush,
}

/// A device that passes everything on and keeps a record.
#[derive(Debug)]
pub struct RecordingDevice<Device> {
    device: Device,
    operations: Vec<Operation>,
}

impl<Device: BlockDevice> RecordingDevice<Device> {
    /// Starts recording with an empty record.
    pub fn new(device: Device) -> Self {
        Self { device, operations: Vec::new() }
    }

    /// The device and what happened to it.
    pub fn finish(self) -> (Device, Vec<Operation>) {
        (self.device, self.operations)
    }
}

impl<Device: BlockDevice> BlockDevice for RecordingDevice<Device> {
    fn sector_size(&self) -> u32 {
        self.device.sector_size()
    }

    fn length(&self) -> u64 {
        self.device.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.device.write_at(offset, bytes)?;
        self.operations.push(Operation::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.device.flush()?;
        self.operations.push(Operation::Flush);
        Ok(())
    }
}

/// One sector's worth of a write.
type Sector<'a> = (u64, &'a [u8]);

/// Calls `check` with every disk that cutting `operations` short can leave of `initial`, the
/// untouched and the finished one included, and returns how many there were. The check gets the
/// number of completed flushes, so that a test can also demand "new after the commit".
///
/// # Errors
/// A recorded write outside `initial`, and what `check` returns.
pub fn crash_states<Failure: From<io::Error>>(
    initial: &MemoryDevice,
    operations: &[Operation],
    mut check: impl FnMut(&MemoryDevice, usize) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    let mut stable = initial.clone();
    let mut states = 1;
    check(&stable, 0)?;
    for (flushes, window) in operations.split(|step| *step == Operation::Flush).enumerate() {
        let sectors = changed_sectors(&stable, window)?;
        for kept in subsets(sectors.len()) {
            let mut state = stable.clone();
            for (sector, _) in sectors.iter().zip(&kept).filter(|(_, kept)| **kept) {
                state.write_at(sector.0, sector.1)?;
            }
            check(&state, flushes)?;
            states += 1;
        }
        for (offset, bytes) in sectors {
            stable.write_at(offset, bytes)?;
        }
    }
    Ok(states)
}

/// Cuts a window into sectors and leaves out those that make no difference.
fn changed_sectors<'a>(
    stable: &MemoryDevice,
    window: &'a [Operation],
) -> io::Result<Vec<Sector<'a>>> {
    let length = stable.sector_size() as usize;
    let mut sectors: Vec<Sector<'a>> = Vec::new();
    for operation in window {
        let Operation::Write { offset, bytes } = operation else { continue };
        for (index, piece) in bytes.chunks(length).enumerate() {
            let position = offset + (index * length) as u64;
            let mut before = vec![0; piece.len()];
            stable.read_at(position, &mut before)?;
            // A sector written twice in one window counts both times.
            if before != piece || sectors.iter().any(|(other, _)| *other == position) {
                sectors.push((position, piece));
            }
        }
    }
    Ok(sectors)
}

/// Which sectors survive, per state; the last state is the complete window.
fn subsets(count: usize) -> Vec<Vec<bool>> {
    if count <= EXHAUSTIVE_SECTORS {
        let bit = |state: usize| (0..count).map(|index| state >> index & 1 == 1).collect();
        return (1..1 << count).map(bit).collect();
    }
    let mut states: Vec<Vec<bool>> = Vec::new();
    for cut in 0..count {
        states.push((0..count).map(|index| index < cut).collect());
        states.push((0..count).map(|index| index != cut).collect());
        states.push((0..count).map(|index| index == cut).collect());
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..SAMPLES {
        let coin = |_| {
            // Xorshift (Marsaglia 2003): any generator would do, it must only be repeatable.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 63 == 1
        };
        states.push((0..count).map(coin).collect());
    }
    states.push(vec![true; count]);
    states
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn small_windows_show_every_subset() {
        let initial = MemoryDevice::empty(2048, 512).unwrap();
        let mut device = RecordingDevice::new(initial.clone());
        device.write_at(0, &[1; 1024]).unwrap();
        device.flush().unwrap();
        device.write_at(1024, &[2; 512]).unwrap();
        device.write_at(1536, &[0; 512]).unwrap();
        let (after, operations) = device.finish();
        let mut seen = BTreeSet::new();
        let count = crash_states::<io::Error>(&initial, &operations, |state, flushes| {
            let marks: Vec<u8> = state.to_vec().iter().step_by(512).copied().collect();
            seen.insert((flushes, marks));
            Ok(())
        })
        .unwrap();
        let expected = [
            (0, vec![0, 0, 0, 0]),
            (0, vec![1, 0, 0, 0]),
            (0, vec![0, 1, 0, 0]),
            (0, vec![1, 1, 0, 0]),
            (1, vec![1, 1, 2, 0]),
        ];
        assert_eq!(count, expected.len());
        assert_eq!(seen, BTreeSet::from(expected));
        assert_eq!(after.to_vec()[1024], 2);
    }

    #[test]
    fn large_windows_end_complete_and_lose_each_sector_once() {
        let states = subsets(40);
        assert_eq!(states.last(), Some(&vec![true; 40]));
        for lost in 0..40 {
            assert!(
                states.iter().any(|kept| !kept[lost] && kept.iter().filter(|k| !**k).count() == 1)
            );
        }
    }
}
