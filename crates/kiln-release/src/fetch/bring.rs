//! The whole way in order: table, plan, fetch, boot files, rebuild, proof.

use std::collections::BTreeMap;

use kiln_verity::RootHash;

use super::gather::fetch_chunk;
use super::{
    LocalContents, Place, RebuildOptions, Remote, Spool, Watch, check_profile, gather, plan,
    rebuild,
};
use crate::Error;

/// A release that is here.
#[derive(Debug)]
pub struct Brought {
    /// Root hash of what was written.
    pub root_hash: RootHash,
    /// Boot files by mode.
    pub boot_files: BTreeMap<String, Vec<u8>>,
    /// Bytes of frames that were fetched.
    pub fetched: u64,
    /// Bytes of frames that an earlier run had fetched.
    pub kept: u64,
    /// Bytes of all frames of the release.
    pub total: u64,
    /// Chunks that a slot promised and did not give.
    pub replaced: u64,
}

/// Writes the root image of `remote` to the beginning of what `place` gives, and gives its boot files. `local` is
/// what is here, `boot_files` the boot files that are here. The caller clears the spool when it no
/// longer needs it; after an error the next call goes on with it.
///
/// # Errors
/// Nothing that was written may be used.
pub fn bring(
    remote: &Remote,
    local: &LocalContents,
    boot_files: &[Vec<u8>],
    spool: &mut Spool,
    place: &mut Place<'_>,
    options: RebuildOptions,
    watch: &Watch<'_>,
) -> Result<Brought, Error> {
    check_profile(&remote.release)?;
    let table = remote.table(spool, watch)?;
    let plan = plan(&table, local, spool);
    gather(remote, &plan, spool, watch)?;
    let boot_files = remote.boot_files(boot_files, spool, watch)?;
    let mut replaced = 0;
    let mut chunks = |chunk: &crate::table::Chunk| {
        if let Some(bytes) = spool.read(chunk)? {
            return Ok(bytes);
        }
        match local.read(chunk) {
            Ok(Some(bytes)) => Ok(bytes),
            // A slot that rots must not keep its machine from being replaced.
            Ok(None) | Err(_) => {
                replaced += 1;
                fetch_chunk(remote, chunk)
            }
        }
    };
    let root_hash = rebuild(table, &remote.release, &mut chunks, place, options, watch)?;
    let (fetched, kept, total) = (plan.bytes, plan.kept, plan.total);
    Ok(Brought { root_hash, boot_files, fetched, kept, total, replaced })
}
