//! Compressing clusters side by side, in order.
//!
//! A batch is compressed by threads that each own a run of it; results come back in the order of
//! the input, so the number of threads does not show in the output.

use super::format::{CLUSTER, WINDOW_BITS};
use crate::Error;
use flate2::{Compress, Compression, FlushCompress, Status};

/// A cluster of input and where it belongs.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Byte offset in the virtual disk.
    pub(super) offset: u64,
    /// Exactly one cluster.
    pub(super) bytes: Vec<u8>,
}

/// The raw deflate stream of each cluster, or `None` where it would not be smaller.
pub(super) fn compress(
    clusters: &[Cluster],
    level: u32,
    threads: usize,
) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let share = clusters.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = clusters
            .chunks(share)
            .map(|part| (part[0].offset, scope.spawn(move || compress_part(part, level))))
            .collect();
        let mut results = Vec::with_capacity(clusters.len());
        for (offset, worker) in workers {
            results.extend(worker.join().map_err(|_| Error::Compress(offset))??);
        }
        Ok(results)
    })
}

fn compress_part(clusters: &[Cluster], level: u32) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut state = Compress::new_with_window_bits(Compression::new(level), false, WINDOW_BITS);
    // One byte less than a cluster: what does not fit is not worth it.
    let mut buffer = vec![0; CLUSTER as usize - 1];
    clusters
        .iter()
        .map(|cluster| {
            state.reset();
            let status = state
                .compress(&cluster.bytes, &mut buffer, FlushCompress::Finish)
                .map_err(|_| Error::Compress(cluster.offset))?;
            let length = usize::try_from(state.total_out()).unwrap_or(buffer.len());
            Ok((status == Status::StreamEnd).then(|| buffer[..length].to_vec()))
        })
        .collect()
}
