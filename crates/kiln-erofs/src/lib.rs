//! EROFS: format, encoder, writer, reader, dump and the frozen profiles
