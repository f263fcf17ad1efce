//! Names and bounds of cosign's signatures in registries (sigstore/cosign specs/SIGNATURE_SPEC.md,
//! sigstore/protobuf-specs sigstore_bundle.proto, secure-systems-lab/dsse protocol.md).
//!
//! They are others' formats: a name here is never changed, only joined by further ones.

/// Media type of a layer that holds a simple signing payload.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of that layer: the signature in Base64.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Annotation of that layer: the certificate of a keyless signature.
pub(super) const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// Annotation of that layer: the certificates above it.
pub(super) const CHAIN: &str = "dev.sigstore.cosign/chain";
/// Annotation of that layer: the log entry of a signature, which cosign calls its bundle.
pub(super) const LOG_ENTRY: &str = "dev.sigstore.cosign/bundle";
/// Annotation of that layer: a time stamp (RFC 3161).
pub(super) const TIME_STAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// Artifact type of such a manifest where it is a referrer.
pub(super) const SIMPLE_ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// Media type and artifact type of a bundle.
pub(super) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// How the media types of all bundles begin.
pub(super) const BUNDLE_FAMILY: &str = "application/vnd.dev.sigstore.bundle";
/// Annotation of a bundle's manifest: what kind of content it has.
pub(super) const BUNDLE_CONTENT: &str = "dev.sigstore.bundle.content";
/// Annotation of a bundle's manifest: the predicate of its statement.
pub(super) const BUNDLE_PREDICATE: &str = "dev.sigstore.bundle.predicateType";

/// Media type of a configuration of nothing (OCI image specification 1.1, manifest.md).
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Its bytes.
pub(super) const EMPTY_BYTES: &[u8] = b"{}";
/// Media type of the configuration of a signature under a tag: it passes for an image.
pub(super) const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// What a payload must say that it is.
pub(super) const PAYLOAD_TYPE: &str = "cosign container image signature";
/// Type of a signed in-toto statement in its envelope.
pub(super) const STATEMENT_TYPE: &str = "application/vnd.in-toto+json";
/// How the type inside a statement begins; its version follows.
pub(super) const STATEMENT_FAMILY: &str = "https://in-toto.io/Statement/";
/// The type inside the statements that are written.
pub(super) const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate that makes a statement a signature. Others, such as lists of materials, say
/// something about an image and do not vouch for it.
pub(super) const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// Longest payload or bundle in bytes; real ones have a few hundred, with certificates some
/// thousand.
pub const MAXIMUM_DOCUMENT: u64 = 256 << 10;
/// Longest signature in bytes; one by ECDSA P-256 has at most 72, by RSA with 8192 bits 1024.
pub(super) const MAXIMUM_SIGNATURE: usize = 4096;
/// Most signatures of one digest that are looked at, in each place.
pub(super) const MAXIMUM_CANDIDATES: usize = 64;
