//! The canonical file tree: layers merged, checked and digested
