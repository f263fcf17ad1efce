//! From a source to a release and its media: the path of the data
