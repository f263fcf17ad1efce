//! What a release is: names, versions, digests and its JSON form
