//! What hands documents to a machine that trusts nobody yet: the firmware's table, and a server of files.

use kiln_provision::fuzzing;

/// Bytes of a file that are taken at most.
const LIMIT: u64 = 10_000;

/// Reads a table of SMBIOS. Accepted is one that holds OEM strings; they lie in it, and hold no zero.
pub fn oem_strings(data: &[u8]) -> bool {
    let found = fuzzing::oem_strings(data);
    let bytes: usize = found.iter().map(|string| string.len() + 1).sum();
    assert!(bytes <= data.len(), "{bytes} bytes of strings in {}", data.len());
    for string in &found {
        assert!(!string.is_empty() && !string.contains(&0), "{string:?}");
    }
    !found.is_empty()
}

/// Takes packets of a server for files, each behind its length in two bytes. Accepted is a whole transfer,
/// which never has more bytes than were let in or came.
pub fn tftp(data: &[u8]) -> bool {
    let (mut packets, mut rest) = (Vec::new(), data);
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (packet, next) = behind.split_at(length);
        packets.push(packet);
        rest = next;
    }
    match fuzzing::transfer(&packets, LIMIT) {
        Some(bytes) => {
            assert!(bytes.len() as u64 <= LIMIT && bytes.len() <= data.len(), "{}", bytes.len());
            true
        }
        None => false,
    }
}
