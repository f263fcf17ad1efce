//! Clouds are recognised, asked and understood; answers are those of the clouds' documentation.

use std::collections::BTreeMap;

use super::*;

/// Answers by path; `token` is wanted with each question where there is one.
#[derive(Default)]
struct Service {
    answers: BTreeMap<&'static str, Vec<u8>>,
    asked: Vec<(String, Vec<(String, String)>)>,
    refuses_token: bool,
    as_root: Vec<String>,
}

impl Fetch for Service {
    fn get(&mut self, remote: &Remote, _: u64) -> Result<Vec<u8>, Error> {
        self.asked.push((remote.url.clone(), remote.headers.clone()));
        let path = remote.url.strip_prefix("http://here").unwrap();
        self.answers.get(path).cloned().ok_or_else(|| status(404))
    }

    fn get_as_root(&mut self, remote: &Remote, limit: u64) -> Result<Vec<u8>, Error> {
        self.as_root.push(remote.url.clone());
        self.get(remote, limit)
    }

    fn send(&mut self, sending: &Sending<'_>) -> Result<Vec<u8>, Error> {
        assert_eq!(sending.url, "http://here/latest/api/token");
        assert_eq!(sending.headers[0].0, TOKEN_SECONDS.0);
        if self.refuses_token { Err(status(403)) } else { Ok(b"to ken\r\n".to_vec()) }
    }
}

fn status(status: u16) -> Error {
    let url = "http://here".to_owned();
    kiln_registry::Error::Status { url, status, message: String::new() }.into()
}

fn cloud(provider: &str) -> &'static Cloud {
    CLOUDS.iter().find(|cloud| cloud.provider == provider).unwrap()
}

#[test]
fn the_firmware_names_the_cloud() {
    for (fields, expected) in [
        (&[("sys_vendor", "Amazon EC2")][..], Some("aws")),
        (&[("sys_vendor", "Google"), ("product_name", "Google Compute Engine")], Some("gcp")),
        (&[("sys_vendor", "Google"), ("product_name", "Eve")], None),
        (&[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")], Some("azure")),
        (&[("sys_vendor", "Microsoft Corporation"), ("product_name", "Virtual Machine")], None),
        (&[("sys_vendor", "OpenStack Foundation")], Some("openstack")),
        (&[("product_name", "OpenStack Nova")], Some("openstack")),
        (&[("sys_vendor", "DigitalOcean")], Some("digitalocean")),
        (&[("sys_vendor", "Hetzner")], Some("hetzner")),
        (&[("sys_vendor", "Scaleway")], Some("scaleway")),
        (&[("sys_vendor", "QEMU")], None),
        (&[], None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("class/dmi/id");
        std::fs::create_dir_all(&place).unwrap();
        for (name, text) in fields {
            std::fs::write(place.join(name), format!("{text}\n")).unwrap();
        }
        let found = Firmware::read(folder.path()).cloud().map(|cloud| cloud.provider);
        assert_eq!(found, expected, "{fields:?}");
    }
    assert_eq!(of_platform("packet").unwrap().title, "Equinix Metal");
    assert_eq!(of_platform("metal"), None);
}

/// What a cloud answers, by path.
type Answers<'a> = &'a [(&'static str, &'a [u8])];

#[test]
fn every_cloud_is_asked_in_its_own_way() {
    let openstack = br#"{"hostname":"n1","public_keys":{"a":"ssh-rsa A\n"},"other":1}"#;
    let objects = br#"[{"keyData":"ssh-rsa A\r\n","path":"/x"},{"path":"/y"}]"#;
    let azure_key = "/metadata/instance/compute/publicKeys?api-version=2021-01-01";
    let azure_name = "/metadata/instance/compute/name?api-version=2021-01-01&format=text";
    let azure_data = "/metadata/instance/compute/userData?api-version=2021-01-01&format=text";
    let google = "/computeMetadata/v1/instance/attributes/ssh-keys";
    let google_keys = b"ann:ssh-rsa A ann\nbob:ssh-rsa B google-ssh {\"expireOn\":\"2026\"}\n";
    let scaleway =
        br#"{"hostname":"n1","ssh_public_keys":[{"key":"ssh-rsa A","fingerprint":"f"}]}"#;
    let cases: [(&str, Answers<'_>, &[&str]); 8] = [
        (
            "aws",
            &[
                ("/latest/user-data", b"data"),
                ("/latest/meta-data/local-hostname", b"n1"),
                ("/latest/meta-data/public-keys/", b"0=mine\nx=y\n"),
                ("/latest/meta-data/public-keys/0/openssh-key", b"ssh-rsa A"),
            ],
            &["ssh-rsa A"],
        ),
        (
            "gcp",
            &[
                ("/computeMetadata/v1/instance/attributes/user-data", b"data"),
                ("/computeMetadata/v1/instance/hostname", b"n1"),
                (google, google_keys),
            ],
            &["ssh-rsa A ann"],
        ),
        (
            "azure",
            &[(azure_data, b"ZGF0YQ=="), (azure_name, b"n1"), (azure_key, objects)],
            &["ssh-rsa A"],
        ),
        (
            "openstack",
            &[
                ("/openstack/latest/user_data", b"data"),
                ("/openstack/latest/meta_data.json", openstack),
            ],
            &["ssh-rsa A"],
        ),
        (
            "digitalocean",
            &[
                ("/metadata/v1/user-data", b"data"),
                ("/metadata/v1/hostname", b"n1"),
                ("/metadata/v1/public-keys", b"ssh-rsa A\nssh-rsa A\n# no\n\n"),
            ],
            &["ssh-rsa A"],
        ),
        (
            "hetzner",
            &[
                ("/hetzner/v1/userdata", b"data"),
                ("/hetzner/v1/metadata/hostname", b"n1\n"),
                ("/hetzner/v1/metadata/public-keys", br#"["ssh-rsa A"]"#),
            ],
            &["ssh-rsa A"],
        ),
        (
            "scaleway",
            &[("/user_data/cloud-init", b"data"), ("/conf?format=json", scaleway)],
            &["ssh-rsa A"],
        ),
        (
            "packet",
            &[
                ("/userdata", b"data"),
                ("/2009-04-04/meta-data/hostname", b"n1"),
                ("/2009-04-04/meta-data/public-keys", b"ssh-rsa A"),
            ],
            &["ssh-rsa A"],
        ),
    ];
    for (provider, answers, keys) in cases {
        let mut service = Service::default();
        service.answers.extend(answers.iter().map(|(path, text)| (*path, text.to_vec())));
        let cloud = cloud(provider);
        let answer = ask(cloud, "http://here", &mut service).unwrap();
        assert_eq!(answer.user_data.as_deref(), Some(&b"data"[..]), "{provider}");
        assert_eq!(answer.metadata.hostname.as_deref(), Some("n1"), "{provider}");
        assert_eq!(answer.metadata.keys, keys, "{provider}");
        let as_root: &[&str] = match provider {
            "scaleway" => &["http://here/user_data/cloud-init"],
            _ => &[],
        };
        assert_eq!(service.as_root, as_root, "{provider}");
        for (url, headers) in &service.asked {
            let has = |name: &str| headers.iter().any(|(one, _)| one == name);
            assert_eq!(has(TOKEN_HEADER), cloud.has_token, "{url}");
            assert!(cloud.header.is_none_or(|(name, _)| has(name)), "{url}");
        }
        let token = service.asked[0].1.iter().find(|(name, _)| name == TOKEN_HEADER);
        assert!(token.is_none_or(|(_, value)| value == "token"), "{token:?}");
    }
}

#[test]
fn nothing_there_is_an_answer_and_a_refusal_is_none() {
    for provider in ["aws", "gcp", "openstack", "hetzner"] {
        let answer = ask(cloud(provider), "http://here", &mut Service::default()).unwrap();
        assert_eq!(answer.user_data, None);
        assert_eq!(answer.metadata, Metadata::default());
        assert_eq!(answer.metadata.document(), None);
    }
    let mut refuses = Service { refuses_token: true, ..Service::default() };
    assert!(ask(cloud("aws"), "http://here", &mut refuses).is_err());
    let mut empty = Service::default();
    empty.answers.insert("/hetzner/v1/userdata", b" \n".to_vec());
    assert_eq!(ask(cloud("hetzner"), "http://here", &mut empty).unwrap().user_data, None);
}

#[test]
fn compressed_user_data_are_unpacked_within_a_bound() {
    use std::io::Write as _;
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let mut service = Service::default();
    service.answers.insert("/hetzner/v1/userdata", gzip(b"data"));
    let answer = ask(cloud("hetzner"), "http://here", &mut service).unwrap();
    assert_eq!(answer.user_data.as_deref(), Some(&b"data"[..]));
    let bomb = gzip(&vec![0; kiln_config::source::MAXIMUM_BYTES + 1]);
    service.answers.insert("/hetzner/v1/userdata", bomb);
    let error = ask(cloud("hetzner"), "http://here", &mut service).err().unwrap().sentence();
    assert!(error.contains("more than"), "{error}");
}

#[test]
fn metadata_become_a_step() {
    let metadata =
        of_no_cloud("instance-id: i\nlocal-hostname: \"n1\"\npublic-keys: [ssh-rsa A]\n");
    assert_eq!(
        metadata.document().unwrap(),
        r#"{"stages":{"initramfs":[{"authorized_keys":{"root":["ssh-rsa A"]},"hostname":"n1","name":"metadata"}]}}"#
    );
    for text in ["", "[", "- a", "local-hostname: [a]"] {
        assert_eq!(of_no_cloud(text), Metadata::default(), "{text}");
        assert_eq!(of_document(text), Metadata::default(), "{text}");
    }
}
