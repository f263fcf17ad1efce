//! Whether a plan needs the network before the system starts.
//!
//! Pure, and generous: a condition that may be false at run time counts as true. Steps whose commands reach
//! out are not seen; who writes such a step asks for the network himself (`ip=` or `rd.neednet=1` on the kernel
//! command line).

use kiln_config::Plan;
use kiln_config::action::{Action, Contents, Source};
use kiln_config::ignition::url;
use kiln_config::operation::{Moment, Text};

/// Whether anything that is carried out before the system starts comes from elsewhere.
#[must_use]
pub fn wants_network(plan: &Plan) -> bool {
    plan.operations.iter().any(|operation| {
        use Moment::{FirstBoot, Initramfs, PreRootfs, Rootfs};
        matches!(operation.stage.moment, PreRootfs | Rootfs | FirstBoot | Initramfs)
            && is_remote(&operation.action)
    })
}

fn is_remote(action: &Action) -> bool {
    match action {
        Action::File(file) => file.contents.iter().chain(&file.append).any(is_fetched),
        Action::AuthorizedKeys(keys) => keys.keys.iter().any(|key| names_address(text(key))),
        Action::User(user) => user.keys.iter().any(|key| names_address(key)),
        Action::Luks(luks) => luks.key.as_ref().is_some_and(is_fetched),
        Action::Git(_) => true,
        Action::UnpackImage(image) => !names_local_image(text(&image.source)),
        Action::Datasource(datasource) => {
            datasource.providers.iter().any(|one| !crate::datasource::is_local(one))
        }
        _ => false,
    }
}

fn is_fetched(contents: &Contents) -> bool {
    match &contents.source {
        Source::Remote(remote) => url::scheme(&remote.url).as_deref() != Some("data"),
        Source::Bytes(_) | Source::Template(_) => false,
    }
}

fn text(text: &Text) -> &str {
    match text {
        Text::Plain(text) | Text::Template(text) => text,
    }
}

fn names_address(key: &str) -> bool {
    ["github:", "gitlab:", "https://", "http://"].iter().any(|start| key.trim().starts_with(start))
}

/// Images that lie in the root itself (the forms of `kiln_registry::Source`).
fn names_local_image(source: &str) -> bool {
    ["oci:", "oci-archive:", "docker-archive:", "dir:", "tar:"]
        .iter()
        .any(|start| source.starts_with(start) && !source.starts_with("oci://"))
}

#[cfg(test)]
mod tests {
    use super::wants_network;
    use kiln_config::check::{Input, check};

    #[test]
    fn only_what_comes_from_elsewhere_before_the_system_starts_needs_it() {
        let file = |source: &str| {
            format!(
                "{{\"ignition\": {{\"version\": \"3.4.0\"}}, \"storage\": {{\"files\": [{{\"path\": \
                 \"/a\", \"contents\": {{\"source\": \"{source}\"}}}}]}}}}"
            )
        };
        let stage = |stage: &str, step: &str| format!("stages: {{{stage}: [{step}]}}\n");
        for (text, expected) in [
            (file("data:,x"), false),
            (file("https://a.example/x"), true),
            (stage("initramfs", "{commands: [a]}"), false),
            (stage("initramfs", "{authorized_keys: {root: ['ssh-ed25519 A']}}"), false),
            (stage("initramfs", "{authorized_keys: {root: ['github:a']}}"), true),
            (stage("network", "{authorized_keys: {root: ['github:a']}}"), false),
            (stage("rootfs.after", "{downloads: [{path: /a, url: 'https://a/b'}]}"), true),
            (stage("initramfs", "{unpack_images: [{source: 'a.example/b', target: /c}]}"), true),
            (stage("initramfs", "{unpack_images: [{source: 'oci:/b', target: /c}]}"), false),
            (stage("initramfs", "{datasource: {providers: [cdrom]}}"), false),
            (stage("initramfs", "{datasource: {providers: [cdrom, aws]}}"), true),
        ] {
            let input = Input { name: "a".into(), bytes: text.clone().into_bytes() };
            let checked = check(vec![input], None);
            assert!(!checked.diagnostics.has_errors(), "{text}: {:?}", checked.diagnostics);
            assert!(!checked.plan.operations.is_empty(), "{text}");
            assert_eq!(wants_network(&checked.plan), expected, "{text}");
        }
    }
}
