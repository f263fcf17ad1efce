//! OCI images: references, layouts, archives and their verified blobs
