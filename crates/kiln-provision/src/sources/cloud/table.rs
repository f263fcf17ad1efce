//! The clouds: by what they are recognised, where they are asked, and in which form they answer.
//!
//! The marks are those that the clouds document or that their own images look for; each is strict enough that
//! no desk machine has it (Google also makes laptops, and Microsoft's hypervisor runs everywhere).

/// A field of the firmware and the beginning of its text.
pub(crate) type Sign = (&'static str, &'static str);

/// Fields of the firmware that signs ask for.
pub(super) const FIELDS: [&str; 5] =
    ["sys_vendor", "product_name", "chassis_asset_tag", "bios_vendor", "bios_version"];

/// The address that all but few use (RFC 3927).
const USUAL: &str = "http://169.254.169.254";

/// How user data are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Plain,
    /// In base64.
    Base64,
}

/// How keys are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// One in each line.
    Lines,
    /// A list of numbers, with a key behind each.
    Numbered,
    /// `user:key` in each line.
    Named,
    /// A JSON list of texts.
    List,
    /// A JSON list of objects with `keyData`.
    Objects,
}

/// Where host name and keys are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// In documents of their own.
    Each {
        /// Path of the host name.
        hostname: &'static str,
        /// Path of the keys.
        keys: &'static str,
        /// How they are written.
        form: Keys,
    },
    /// Both in one JSON document in OpenStack's form or Scaleway's.
    Document(&'static str),
}

/// A cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cloud {
    /// Its name for people.
    pub(crate) title: &'static str,
    /// Its name in `datasource`.
    pub(crate) provider: &'static str,
    /// Its names in Ignition.
    pub(crate) platforms: &'static [&'static str],
    /// Marks of the firmware: all of one line.
    pub(crate) signs: &'static [&'static [Sign]],
    /// Where it is asked.
    pub(crate) address: &'static str,
    /// A header that each question needs.
    pub(crate) header: Option<(&'static str, &'static str)>,
    /// Whether a token is asked for first.
    pub(crate) has_token: bool,
    /// Path of the user data.
    pub(crate) user_data: &'static str,
    /// Whether user data are given only to ports that root may take.
    pub(crate) asks_as_root: bool,
    /// How they are wrapped.
    pub(crate) encoding: Encoding,
    /// Where host name and keys are.
    pub(crate) metadata: Metadata,
}

/// All that most clouds have in common.
const COMMON: Cloud = Cloud {
    title: "",
    provider: "",
    platforms: &[],
    signs: &[],
    address: USUAL,
    header: None,
    has_token: false,
    user_data: "",
    asks_as_root: false,
    encoding: Encoding::Plain,
    metadata: EC2_METADATA,
};

const EC2_METADATA: Metadata = Metadata::Each {
    hostname: "/latest/meta-data/local-hostname",
    keys: "/latest/meta-data/public-keys/",
    form: Keys::Numbered,
};

/// All clouds.
pub(crate) const CLOUDS: [Cloud; 10] = [
    Cloud {
        title: "Amazon EC2",
        provider: "aws",
        platforms: &["aws", "ec2"],
        signs: &[&[("sys_vendor", "Amazon EC2")], &[("bios_vendor", "Amazon EC2")]],
        has_token: true,
        user_data: "/latest/user-data",
        ..COMMON
    },
    Cloud {
        title: "Google Compute Engine",
        provider: "gcp",
        platforms: &["gcp", "gce"],
        signs: &[&[("product_name", "Google Compute Engine")]],
        header: Some(("Metadata-Flavor", "Google")),
        user_data: "/computeMetadata/v1/instance/attributes/user-data",
        metadata: Metadata::Each {
            hostname: "/computeMetadata/v1/instance/hostname",
            keys: "/computeMetadata/v1/instance/attributes/ssh-keys",
            form: Keys::Named,
        },
        ..COMMON
    },
    Cloud {
        title: "Microsoft Azure",
        provider: "azure",
        platforms: &["azure"],
        // The asset tag tells Azure from any other Hyper-V (Azure documentation, "Instance Metadata Service").
        signs: &[&[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")]],
        header: Some(("Metadata", "true")),
        user_data: "/metadata/instance/compute/userData?api-version=2021-01-01&format=text",
        encoding: Encoding::Base64,
        metadata: Metadata::Each {
            hostname: "/metadata/instance/compute/name?api-version=2021-01-01&format=text",
            keys: "/metadata/instance/compute/publicKeys?api-version=2021-01-01",
            form: Keys::Objects,
        },
        ..COMMON
    },
    Cloud {
        title: "DigitalOcean",
        provider: "digitalocean",
        platforms: &["digitalocean"],
        signs: &[&[("sys_vendor", "DigitalOcean")]],
        user_data: "/metadata/v1/user-data",
        metadata: Metadata::Each {
            hostname: "/metadata/v1/hostname",
            keys: "/metadata/v1/public-keys",
            form: Keys::Lines,
        },
        ..COMMON
    },
    Cloud {
        title: "Hetzner Cloud",
        provider: "hetzner",
        platforms: &["hetzner"],
        signs: &[&[("sys_vendor", "Hetzner")]],
        user_data: "/hetzner/v1/userdata",
        metadata: Metadata::Each {
            hostname: "/hetzner/v1/metadata/hostname",
            keys: "/hetzner/v1/metadata/public-keys",
            form: Keys::List,
        },
        ..COMMON
    },
    Cloud {
        title: "Scaleway",
        provider: "scaleway",
        platforms: &["scaleway"],
        signs: &[&[("sys_vendor", "Scaleway")]],
        address: "http://169.254.42.42",
        user_data: "/user_data/cloud-init",
        asks_as_root: true,
        metadata: Metadata::Document("/conf?format=json"),
        ..COMMON
    },
    Cloud {
        title: "Vultr",
        provider: "vultr",
        platforms: &["vultr"],
        signs: &[&[("sys_vendor", "Vultr")]],
        user_data: "/latest/user-data",
        metadata: Metadata::Each {
            hostname: "/v1/hostname",
            keys: "/v1/public-keys",
            form: Keys::Lines,
        },
        ..COMMON
    },
    Cloud {
        title: "Equinix Metal",
        provider: "packet",
        // Its machines have the names of whoever built them, so only the command line names it.
        platforms: &["packet", "equinixmetal"],
        address: "https://metadata.platformequinix.com",
        user_data: "/userdata",
        metadata: Metadata::Each {
            hostname: "/2009-04-04/meta-data/hostname",
            keys: "/2009-04-04/meta-data/public-keys",
            form: Keys::Lines,
        },
        ..COMMON
    },
    Cloud {
        title: "OpenStack",
        provider: "openstack",
        platforms: &["openstack"],
        signs: &[
            &[("sys_vendor", "OpenStack")],
            &[("product_name", "OpenStack")],
            &[("chassis_asset_tag", "OpenStack")],
            &[("chassis_asset_tag", "OpenTelekomCloud")],
        ],
        user_data: "/openstack/latest/user_data",
        metadata: Metadata::Document("/openstack/latest/meta_data.json"),
        ..COMMON
    },
    Cloud {
        title: "metal-stack",
        provider: "metaldata",
        platforms: &["metal-stack"],
        user_data: "/latest/user-data",
        ..COMMON
    },
];

/// Sources that `datasource` knows and that cannot be asked, and why.
pub(crate) const UNREACHABLE: [(&str, &str); 1] =
    [("vmware", "it is asked through a port of the processor; use a volume with the label CIDATA")];
