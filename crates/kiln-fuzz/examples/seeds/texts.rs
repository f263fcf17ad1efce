//! Seeds of texts. A line feed of the list below is one of the text; `\0` separates the parts of an
//! input.

use crate::binary::Seed;

pub(crate) fn seeds() -> Vec<Seed> {
    TEXTS.iter().map(|(target, name, text)| (*target, *name, text.as_bytes().to_vec())).collect()
}

const TEXTS: &[(&str, &str, &str)] = &[
    (
        "boot_manifest",
        "virtio",
        "module 0 virtio.ko always -\nmodule 1 virtio_ring.ko always 0\n\
         module 2 virtio_blk.ko match 0,1\nalias 2 virtio:d00000002v*\nvirtio:d00000002v00001AF4\n",
    ),
    ("boot_manifest", "one", "module 0 dm-verity.ko always -\nalias 0 dm:verity\n"),
    ("boot_manifest", "patterns", "alias 0 pci:v[0-9a-f]*d\\*bc0[!1]?\npci:v1d*bc02x\n"),
    (
        "command_line",
        "system",
        "quiet kiln.root=abababababababababababababababababababababababababababababababab:1000:\
         0101010101010101010101010101010101010101010101010101010101010101 kiln.mode=system \
         kiln.state=none init=/usr/lib/systemd/systemd -- single",
    ),
    ("command_line", "quotes", "a=\"b c\" kiln.root=\"00:2:11\" kiln.mode=recovery"),
    ("command_line", "identity", "0123456789abcdef0123456789abcdef\n"),
    (
        "disk_layout",
        "full",
        "# edge\nformat = \"kiln.layout.v1\"\nesp = \"512MiB\" # boot files\nslot = \"4GiB\"\n\
         state = \"1GiB\"\nrecovery = false\n\n[[partition]]\nlabel = \"data\"\nsize = \"20GiB\"\n\
         file-system = \"xfs\"\nmount = \"/srv/data\"\n[[partition]] # raw\nlabel = \"spare\"\n\
         size = \"64M\"\n",
    ),
    ("disk_layout", "least", "format = \"kiln.layout.v1\""),
    (
        "disk_layout",
        "kinds",
        "format = \"kiln.layout.v1\"\n[[partition]]\nlabel = \"a\"\nsize = \"128M\"\n\
         file-system = \"btrfs\"\nmount = \"/usr/local\"\n[[partition]]\nlabel = \"b\"\n\
         size = \"8M\"\nfile-system = \"vfat\"\nmount = \"/opt/b\"\n[[partition]]\nlabel = \"c\"\n\
         size = \"1T\"\nfile-system = \"ext4\"\n",
    ),
    (
        "docker_image",
        "one-layer",
        "[{\"Config\":\"1\",\"RepoTags\":[\"a:1\"],\"Layers\":[\"2\"]}]\0\
         {\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":[\"A=b\"],\"Labels\":null},\
         \"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"@2\"]}}\0layer",
    ),
    (
        "docker_image",
        "same-layer-twice",
        "[{\"Config\":\"1\",\"Layers\":[\"2\",\"3\"]}]\0{\"architecture\":\"amd64\",\"os\":\"linux\",\
         \"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"@2\",\"@2\"]}}\0x\0x",
    ),
    ("docker_image", "none", "[]"),
    ("entry_name", "names", "kiln-00000001+3-0.efi\nkiln-00000002.efi\nKILN-00000003+0-3.EFI\n"),
    ("entry_name", "versions", "1.0~rc1\n1.0\n1.0-1\n1.0^git\n1.0.1\n10\n9\n1a\n1_b\n01\n"),
    (
        "entry_name",
        "listed",
        "kiln-00000001+3.efi kiln 1\nother+0-1.efi zz\na.efi kiln 2\nkiln-1+x.efi\n",
    ),
    (
        "kernel_arguments",
        "changed",
        "kiln.root=abababababababababababababababababababababababababababababababab:1000:\
         0101010101010101010101010101010101010101010101010101010101010101 kiln.mode=system \
         panic=10 quiet console=ttyS0 -- single\n-quiet\nmitigations=off\n-console\nkiln.root=x\n\
         panic=0\nnet.ifnames=0\n",
    ),
    (
        "kernel_arguments",
        "quotes",
        "a=\"b c\" kiln.root=\"00:2:11\" \"kiln.state=none\"\n-kiln.state\n-\"kiln.state\n--\nx=\"\n",
    ),
    ("kernel_arguments", "none", "quiet\n-a\nb\nrd.systemd.gpt_auto=1\nkiln-x\n"),
    (
        "module_index",
        "all-files",
        "kernel/drivers/virtio/virtio.ko.xz:\n\
         kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio.ko.xz\n\
         kernel/drivers/nvme/host/nvme.ko:\n\0kernel/fs/erofs/erofs.ko\n\0\
         erofs.alias=fs-erofs\x01\0alias virtio:d00000002v* virtio_blk\nalias fs-ext4 ext4\n\0\
         softdep nvme pre: crc32c post: ahci\n\0kernel/drivers/virtio/virtio.ko\n\0fs-ext4\nnvme\n",
    ),
    ("module_index", "loop", "a.ko: b.ko\nb.ko: a.ko\n\0\0\0alias x a\n\0softdep a pre: b\n"),
    ("module_index", "empty-parts", "\0\0\0\0\0\0x"),
    (
        "mounts",
        "decision",
        "kiln.mounts.v1\nmemory 25%\npersistent bind /etc/ssh\npersistent overlay /my\\040data\n\
         persistent overlay /usr/libexec\nephemeral /etc\nephemeral /var\n\
         volume LABEL=DATA /data ext4 ro,noatime\nvolume /dev/vdb1 /var/lib/x auto defaults\n",
    ),
    (
        "mounts",
        "variables",
        "VOLUMES=\"LABEL=COS_OEM:/oem LABEL=COS_PERSISTENT:/var\"\nOVERLAY=\"tmpfs:25%\"\n\
         export RW_PATHS=\"/usr/local /etc\n/srv\"\nPERSISTENT_STATE_PATHS='/etc/ssh /usr/libexec'\n\
         PERSISTENT_STATE_TARGET=/a\\ /b # why\nPERSISTENT_STATE_BIND=\"true\"\n",
    ),
    (
        "mounts",
        "nested",
        "RW_PATHS=\"/a /a/b/c\"\nPERSISTENT_STATE_PATHS=\"/a/b /a-b /a/b/c/d /usr\"\n",
    ),
    ("network_arguments", "dhcp", "quiet ip=dhcp rd.neednet=1 rd.net.timeout.dhcp=90"),
    (
        "network_arguments",
        "fixed",
        "ip=192.0.2.10::192.0.2.1:255.255.255.0:edge:eth0:none:192.0.2.53:192.0.2.54 \
         rd.route=198.51.100.0/24:192.0.2.7:eth0 nameserver=[2001:db8::53] bootdev=eth0",
    ),
    (
        "network_arguments",
        "version-6",
        "ip=[2001:db8::a]::[2001:db8::1]:64::eth0:none:1400:52:54:00:12:34:56 \
         rd.route=[2001:db8:3::/48]:[2001:db8::1]",
    ),
    (
        "network_arguments",
        "vlan",
        "ip=eth0:none vlan=eth0.5:eth0 ip=eth0.5:dhcp:1500 ifname=eth0:52:54:00:12:34:56 \
         BOOTIF=01-52-54-00-12-34-56 kiln.net.keep",
    ),
    (
        "oci_image",
        "index-manifest",
        "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\
         \"application/vnd.oci.image.manifest.v1+json\",@1,\
         \"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"},\
         \"annotations\":{\"org.opencontainers.image.ref.name\":\"a\"}}]}\0\
         {\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\
         @2},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",@3}]}\0\
         {\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2024-01-01T00:00:00Z\",\
         \"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\
         \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]}}\0layer",
    ),
    (
        "oci_image",
        "nested",
        "{\"schemaVersion\":2,\"manifests\":[{@1}]}\0{\"schemaVersion\":2,\"manifests\":[{@2,\
         \"platform\":{\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\"}},{@3}]}\0\
         {\"schemaVersion\":2,\"config\":{@4},\"layers\":[]}\0\
         {\"schemaVersion\":2,\"config\":{@4},\"layers\":[]}\0{\"rootfs\":{\"diff_ids\":null}}",
    ),
    ("oci_image", "empty", "{\"schemaVersion\":2,\"manifests\":[]}"),
    ("os_release", "debian", "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID='12'\n"),
    ("os_release", "quotes", "# c\nNAME=a\\ b # c\nPRETTY_NAME=\"a\\\"b\\$c\\d\"\nX='un\n\nID=\n"),
    ("os_release", "control", "PRETTY_NAME=\"\u{1}\u{202e} \\\\ `\"\nNAME=\u{e4}\u{2028}\u{85}\n"),
    (
        "registry_text",
        "all",
        "unqualified-search-registries = [\"registry.example\"]\n[[registry]]\n\
         prefix = \"registry.example/team\"\nlocation = \"mirror.example/other\"\n\
         mirror-by-digest-only = false\n[[registry.mirror]]\nlocation = \"near.example:5000/x\"\n\
         pull-from-mirror = \"tag-only\"\n\0{\"auths\":{\"registry.example/team\":{\"auth\":\"YTpi\"},\
         \"https://registry.example/v1/\":{\"identitytoken\":\"t\"}},\"credHelpers\":{\"h\":\"x\"}}\0\
         Bearer realm=\"https://auth.example/token\",service=\"s\",scope=\"repository:a:pull\"",
    ),
    (
        "registry_text",
        "wildcard",
        "[[registry]]\nprefix = \"*.example\"\nlocation = \"a\"\nblocked = true\n\
         [[registry]]\nlocation = \"mirror.example\"\n\0{\"credsStore\":\"helper\"}\0Basic realm=x",
    ),
    ("registry_text", "empty", "\0{}\0Bearer a=\"b\\\"c\", realm=token"),
    ("release", "small", RELEASE),
    ("release", "created", "2024-02-29T23:59:59.5Z"),
    ("release", "unknown-key", "{\"format\":\"kiln.release.v1\",\"other\":1}"),
    (
        "signature",
        "payload",
        "{\"critical\":{\"identity\":{\"docker-reference\":\"registry.example/edge\"},\"i\
         mage\":{\"docker-manifest-digest\":\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae\
         41e4649b934ca495991b7852b855\"},\"type\":\"cosign container image signature\"},\
         \"optional\":null}",
    ),
    (
        "signature",
        "envelope",
        "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\",\"verificationM\
         aterial\":{\"publicKey\":{\"hint\":\"AA==\"}},\"dsseEnvelope\":{\"payload\":\"ey\
         JfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEiLCJzdWJqZWN0IjpbeyJkaWdlc3\
         QiOnsic2hhMjU2IjoiZTNiMCJ9fV0sInByZWRpY2F0ZVR5cGUiOiJodHRwczovL3NpZ3N0b3JlLmRldi\
         9jb3NpZ24vc2lnbi92MSIsInByZWRpY2F0ZSI6e319\",\"payloadType\":\"application/vnd.i\
         n-toto+json\",\"signatures\":[{\"sig\":\"AAAA\"}]}}",
    ),
    (
        "signature",
        "message",
        "{\"mediaType\":\"application/vnd.dev.sigstore.bundle.v0.3+json\",\"verificationM\
         aterial\":{\"certificate\":{\"rawBytes\":\"AAAA\"}},\"messageSignature\":{\"mess\
         ageDigest\":{\"algorithm\":\"SHA2_256\",\"digest\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAA\
         AAAAAAAAAAAAAAAA=\"},\"signature\":\"AAAA\"}}",
    ),
    (
        "signature",
        "public-key",
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4\
         rXAxZuE=\n-----END PUBLIC KEY-----\n",
    ),
    (
        "signature",
        "private-key",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/H\
         U++CXqI9EdVhC\n-----END PRIVATE KEY-----\n",
    ),
    (
        "signature",
        "policy",
        "{\"format\":\"kiln.policy.v1\",\"signatures\":\"optional\",\"identities\":[\"reg\
         istry.example\"],\"repository\":\"registry.example/signatures\",\"allow_no_verif\
         y\":true,\"allow_additions\":true}",
    ),
    ("reset", "kept", "kiln.reset.v1\nkeep etc\nkeep etc/*/ssh\nkeep overlay/home/upper/admin\n"),
    ("reset", "all", "kiln.reset.v1\n"),
    (
        "reset",
        "paths",
        "/etc\n/etc/ssh\n/var/lib/x\n/home/admin\n/usr/local/bin\n/state/kiln/spool\n",
    ),
    ("reset", "carriage-return", "kiln.reset.v1\nkeep etc\r\n"),
    ("reset", "upwards", "kiln.reset.v1\nkeep etc/../identity\n"),
    ("source_name", "registry", "docker://registry.example:5000/team/system:1.0"),
    (
        "source_name",
        "digest",
        "docker://localhost/a@sha256:\
         e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    ("source_name", "archive", "oci-archive:./image.tar:latest"),
    ("source_name", "short", "docker://debian:12"),
    ("source_name", "platform", "linux/arm64/v8"),
];

const RELEASE: &str = r#"{
  "format": "kiln.release.v1",
  "name": "system",
  "version": "1",
  "title": "System 1",
  "sequence": 1700000000,
  "architecture": "amd64",
  "kernel": "6.1.0",
  "profile": 259,
  "tree_digest": "abababababababababababababababababababababababababababababababab",
  "root": {
    "length": 8192,
    "hash": "abababababababababababababababababababababababababababababababab",
    "data_blocks": 1,
    "salt": "abababababababababababababababababababababababababababababababab"
  },
  "boot_files": [
    {
      "mode": "system",
      "length": 7,
      "digest": "abababababababababababababababababababababababababababababababab"
    }
  ],
  "source": {
    "kind": "oci",
    "manifest_digest": "sha256:x"
  },
  "packages": [
    {
      "name": "a",
      "version": "1",
      "architecture": "amd64"
    }
  ],
  "minimum_agent": "0.1.0"
}
"#;
