//! Which proxy a URL is fetched through.
//!
//! Decided here, from the document alone, so that `explain` can show it and the client needs no rules
//! of its own. The rules are those of the spec's `ignition.proxy`.

use std::net::IpAddr;

use super::url;
use crate::ignition::config::Proxy;

/// The proxy for a URL; nothing where the server is asked directly.
#[must_use]
pub fn proxy_for(url: &str, proxy: &Proxy) -> Option<String> {
    let chosen = match url::scheme(url).as_deref() {
        Some("http") => proxy.http_proxy.as_ref(),
        Some("https") => proxy.https_proxy.as_ref().or(proxy.http_proxy.as_ref()),
        _ => None,
    }?;
    let (host, port) = url::host(url)?;
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return None;
    }
    let default = if url::scheme(url).as_deref() == Some("http") { "80" } else { "443" };
    let port = port.filter(|port| !port.is_empty()).unwrap_or(default);
    let is_direct = proxy.no_proxy.iter().any(|rule| matches(&rule.value, &host, address, port));
    (!is_direct && !chosen.value.is_empty()).then(|| chosen.value.clone())
}

fn matches(rule: &str, host: &str, address: Option<IpAddr>, port: &str) -> bool {
    let rule = rule.trim().to_ascii_lowercase();
    if rule == "*" {
        return true;
    }
    if let Some((network, bits)) = rule.split_once('/') {
        let (Ok(network), Ok(bits), Some(address)) =
            (network.parse::<IpAddr>(), bits.parse::<u32>(), address)
        else {
            return false;
        };
        return inside(network, bits, address);
    }
    // A rule that is a bare IPv6 address has colons, and none of them is in front of a port.
    let (name, wanted) = match rule.rsplit_once(':') {
        Some((name, wanted)) if rule.parse::<IpAddr>().is_err() => (name.to_owned(), Some(wanted)),
        _ => (rule.clone(), None),
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    if let (Ok(rule), Some(address)) = (name.parse::<IpAddr>(), address) {
        return rule == address;
    }
    match name.strip_prefix('.') {
        Some("") | None if name.is_empty() => false,
        Some(domain) => host.strip_suffix(domain).is_some_and(|front| front.ends_with('.')),
        None => host == name || host.strip_suffix(name).is_some_and(|front| front.ends_with('.')),
    }
}

fn inside(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    let (network, address, width): (u128, u128, u32) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u32::from(network).into(), u32::from(address).into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.into(), address.into(), 128),
        _ => return false,
    };
    let Some(shift) = width.checked_sub(bits) else { return false };
    network.checked_shr(shift).unwrap_or(0) == address.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::proxy_for;
    use crate::fields::Spanned;
    use crate::ignition::config::Proxy;

    #[test]
    fn the_rules_of_the_spec() {
        let word = |text: &str| Spanned { value: text.to_owned(), ..Spanned::default() };
        for (url, no_proxy, direct) in [
            ("http://example.com/", "", false),
            ("http://example.com/", "example.com", true),
            ("http://a.example.com/", "example.com", true),
            ("http://example.com/", ".example.com", false),
            ("http://a.example.com/", ".example.com", true),
            ("http://badexample.com/", "example.com", false),
            ("http://example.com/", "*", true),
            ("http://example.com:81/", "example.com:80", false),
            ("http://example.com/", "example.com:80", true),
            ("https://example.com/", "example.com:443", true),
            ("http://10.1.2.3/", "10.0.0.0/8", true),
            ("http://11.1.2.3/", "10.0.0.0/8", false),
            ("http://10.1.2.3/", "10.1.2.3", true),
            ("http://10.1.2.3/", "0.0.0.0/0", true),
            ("http://10.1.2.3/", "0.0.0.0/33", false),
            ("http://[fd00::1]/", "fd00::/8", true),
            ("http://[fd00::1]/", "fd00::1", true),
            ("http://localhost/", "", true),
            ("http://127.0.0.1/", "", true),
            ("tftp://example.com/", "", true),
        ] {
            let proxy = Proxy {
                http_proxy: Some(word("http://proxy.example")),
                https_proxy: None,
                no_proxy: vec![word(no_proxy)],
            };
            assert_eq!(proxy_for(url, &proxy).is_none(), direct, "{url} {no_proxy}");
        }
        let proxy = Proxy { https_proxy: Some(word("http://s.example")), ..Proxy::default() };
        assert_eq!(proxy_for("https://a.example/", &proxy).as_deref(), Some("http://s.example"));
        assert_eq!(proxy_for("http://a.example/", &proxy), None);
    }
}
