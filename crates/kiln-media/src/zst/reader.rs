//! Reading the disk back, from its start to its end.
//!
//! Total on any file; memory is bounded by the largest window. What stands behind the last frame
//! and is none is an error of the reading that meets it.

use super::format::{MAGIC, MAXIMUM_WINDOW_BITS};
use crate::Error;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

/// The disk in `file`, from the file's beginning.
///
/// # Errors
/// [`Error::Read`], and [`Error::Damaged`] for what does not begin with a frame; later damage is an
/// error of reading.
pub fn open_zst(mut file: File) -> Result<impl Read, Error> {
    let failed = |source| Error::Read { offset: 0, source };
    let mut first = [0; 4];
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    if file.read_exact(&mut first).is_err() || first != MAGIC {
        return Err(Error::Damaged { format: "zstd", reason: "no signature" });
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut decoder =
        zstd::stream::read::Decoder::with_buffer(BufReader::new(file)).map_err(failed)?;
    decoder.window_log_max(MAXIMUM_WINDOW_BITS).map_err(failed)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Disk;
    use crate::zst::{FRAME, ZstOptions, write_zst};
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    fn packed(length: u64, marks: &[u64]) -> File {
        let (raw, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        raw.set_len(length).unwrap();
        for mark in marks {
            raw.write_all_at(&[7; 99], *mark).unwrap();
        }
        let options = ZstOptions { level: 1, threads: 2 };
        write_zst(&Disk::of_file(&raw).unwrap(), &out, &options).unwrap();
        out
    }

    #[test]
    fn empty_frames_and_a_short_last_one_are_read_back() {
        for (length, marks) in [
            (512, &[][..]),
            (FRAME, &[0]),
            (3 * FRAME + 1024, &[FRAME + 5]),
            (3 * FRAME + 1024, &[3 * FRAME + 900]),
            (3 * FRAME, &[0, 2 * FRAME + 8]),
        ] {
            let mut bytes = Vec::new();
            open_zst(packed(length, marks)).unwrap().read_to_end(&mut bytes).unwrap();
            let mut expected = vec![0; length as usize];
            for mark in marks {
                expected[*mark as usize..][..99].fill(7);
            }
            assert!(bytes == expected, "{length} {marks:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn damage_is_told(place in 0_u64..400, byte in 1_u8..) {
            let file = packed(FRAME + 512, &[0, FRAME]);
            let mut old = [0];
            let place = place % file.metadata().unwrap().len();
            file.read_exact_at(&mut old, place).unwrap();
            file.write_all_at(&[old[0] ^ byte], place).unwrap();
            let mut bytes = Vec::new();
            let read = open_zst(file).map(|reader| reader.take(9 * FRAME).read_to_end(&mut bytes));
            // Some bits of a frame's head mean nothing to the decoder; contents never differ.
            let mut whole = vec![0; FRAME as usize + 512];
            whole[..99].fill(7);
            whole[FRAME as usize..][..99].fill(7);
            prop_assert!(!matches!(read, Ok(Ok(_))) || bytes == whole);
        }
    }
}
