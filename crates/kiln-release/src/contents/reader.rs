//! Reads one frame. Total: a frame is a stranger's until its digest was right.

use super::{hex, sha256};
use crate::Error;

/// The chunk of `length` bytes that a frame holds, verified. The caller has bounded `length`.
///
/// # Errors
/// [`Error::Malformed`] for anything that is no frame of that many bytes, [`Error::Digest`] for
/// other bytes.
pub fn decode_frame(frame: &[u8], length: u32, digest: &[u8; 32]) -> Result<Vec<u8>, Error> {
    let refused = || Error::malformed("contents", format!("{} does not unpack", hex(digest)));
    let length = usize::try_from(length).map_err(|_| refused())?;
    let mut bytes = vec![0; length];
    match zstd::bulk::decompress_to_buffer(frame, &mut bytes[..]) {
        Ok(written) if written == length => {}
        _ => return Err(refused()),
    }
    let actual = sha256(&bytes);
    if actual != *digest {
        let what = "a chunk".to_owned();
        return Err(Error::Digest { what, expected: hex(digest), actual: hex(&actual) });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_frame_gives_the_chunk() {
        let frame = zstd::bulk::compress(b"chunk", 9).unwrap();
        let digest = sha256(b"chunk");
        assert_eq!(decode_frame(&frame, 5, &digest).unwrap(), b"chunk");
        assert!(decode_frame(&frame, 4, &digest).is_err());
        assert!(decode_frame(&frame, 6, &digest).is_err());
        assert!(decode_frame(&frame[..frame.len() - 1], 5, &digest).is_err());
        let error = decode_frame(&frame, 5, &[0; 32]).unwrap_err();
        assert!(error.to_string().contains(&hex(&digest)), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn rubbish_never_panics(frame: Vec<u8>, length in 0_u32..1 << 20) {
            proptest::prop_assert!(decode_frame(&frame, length, &[7; 32]).is_err());
        }
    }
}
