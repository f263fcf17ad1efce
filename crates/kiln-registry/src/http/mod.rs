//! stub
use crate::{Error, Image, Options, Reference};
pub(crate) fn open(reference: &Reference, _options: &Options) -> Result<Image, Error> {
    Err(Error::NotAnImage { given: reference.to_string() })
}
