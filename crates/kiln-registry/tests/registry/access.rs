//! TLS, logins and proxies: who is trusted with what.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_lab::Registry;
use kiln_lab::registry::{Access, Fault, Proxy, Rule, Settings, Tls, basic};
use kiln_registry::{Error, Options, Proxies};

use crate::support::{Fixture, fixture, options, pull, pull_from};

#[test]
fn plain_http_needs_consent() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    let error = pull_from(&registry, &options(&[])).unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("the registry does not speak TLS; plain HTTP must be"), "{error:?}");
    assert!(registry.requests().is_empty(), "nothing was asked in plain HTTP");
    let configuration = fixture.folder.path().join("registries.conf");
    let text = format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.host());
    std::fs::write(&configuration, text).unwrap();
    let mut others_consent = options(&[]);
    others_consent.network.registries_conf.push(configuration);
    assert!(pull_from(&registry, &others_consent).is_err(), "registries.conf is no consent");
}

/// A registry with TLS, and options that find these of its certificates.
fn secure(fixture: &Fixture, tls: Tls, ca: bool, client: bool) -> (Registry, Options) {
    let registry = fixture.registry(Settings { tls: Some(tls), ..Settings::default() });
    let folder = fixture.folder.path().join("certs.d");
    let mut options = options(&[]);
    if ca {
        let certificates = registry.certificates().unwrap();
        certificates.write(&folder, &registry.host(), client).unwrap();
        options.network.certificate_directories.push(folder);
    }
    (registry, options)
}

#[test]
fn a_certificate_of_the_hosts_own_authority_is_trusted() {
    let fixture = fixture();
    let (registry, options) = secure(&fixture, Tls::default(), true, false);
    assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
    // The same authority under another host's name is worth nothing.
    let elsewhere = fixture.folder.path().join("other.d");
    registry.certificates().unwrap().write(&elsewhere, "other.example:1", false).unwrap();
    let mut other = options.clone();
    other.network.certificate_directories = vec![elsewhere];
    assert!(pull_from(&registry, &other).is_err());
    // As a bundle for all hosts it is.
    let mut bundle = options;
    let ca = fixture.folder.path().join("certs.d").join(registry.host()).join("ca.crt");
    bundle.network.certificate_directories.clear();
    bundle.network.ca_bundles.push(ca);
    assert!(pull_from(&registry, &bundle).unwrap() == fixture.layer);
}

#[test]
fn an_unknown_authority_is_refused_at_once_with_a_hint() {
    let fixture = fixture();
    let (registry, mut options) = secure(&fixture, Tls::default(), false, false);
    // A second attempt would wait longer than any test may.
    options.network.first_delay = std::time::Duration::from_secs(3600);
    options.network.longest_delay = options.network.first_delay;
    let error = pull_from(&registry, &options).unwrap_err();
    assert!(error.to_string().contains(&registry.host()), "{error}");
    assert!(error.hint().unwrap().contains("certs.d/HOST/ca.crt"), "{error:?}");
    assert!(registry.requests().is_empty());
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let fixture = fixture();
    let tls = Tls { names: vec!["other.example".into()], ..Tls::default() };
    let (registry, options) = secure(&fixture, tls, true, false);
    let error = pull_from(&registry, &options).unwrap_err();
    assert!(error.hint().unwrap().contains("for this host name"), "{error:?}");
    assert!(registry.requests().is_empty());
}

/// What a machine sees whose clock stands in 1970 or far ahead is what anybody sees of a certificate for
/// other years.
#[test]
fn a_clock_that_is_wrong_is_named() {
    for years in [(2090, 2099), (1971, 1980)] {
        let fixture = fixture();
        let tls = Tls { years: Some(years), ..Tls::default() };
        let (registry, mut options) = secure(&fixture, tls, true, false);
        // It does not get better by waiting.
        options.network.first_delay = std::time::Duration::from_secs(3600);
        options.network.longest_delay = options.network.first_delay;
        let error = pull_from(&registry, &options).unwrap_err();
        assert!(error.hint().unwrap().contains("clock"), "{years:?}: {error:?}");
        assert!(registry.requests().is_empty());
    }
}

#[test]
fn a_client_certificate_is_shown_where_it_belongs() {
    let fixture = fixture();
    let tls = Tls { client_certificate: true, ..Tls::default() };
    let (registry, with) = secure(&fixture, tls.clone(), true, true);
    assert!(pull_from(&registry, &with).unwrap() == fixture.layer);
    let (registry, without) = secure(&fixture, tls, true, false);
    let error = pull_from(&registry, &without).unwrap_err();
    assert!(error.hint().unwrap().contains("client.cert"), "{error:?}");
    assert!(registry.requests().is_empty());
}

/// Options that go through a proxy to `registry.example:5000`, which only the proxy knows.
fn proxied(fixture: &Fixture, login: Option<&str>) -> (Registry, Proxy, Options) {
    let name = "registry.example:5000";
    let tls = Tls { names: vec!["registry.example".into()], ..Tls::default() };
    let registry = fixture.registry(Settings { tls: Some(tls), ..Settings::default() });
    let names = BTreeMap::from([(name.to_owned(), registry.address())]);
    let proxy = Proxy::start(names, login.map(str::to_owned)).unwrap();
    let folder = fixture.folder.path().join("certs.d");
    registry.certificates().unwrap().write(&folder, name, false).unwrap();
    let mut options = options(&[]);
    options.network.certificate_directories.push(folder);
    options.network.proxies.https = Some(proxy.url());
    (registry, proxy, options)
}

#[test]
fn https_goes_through_its_proxy() {
    let fixture = fixture();
    let (registry, proxy, mut options) = proxied(&fixture, None);
    let name = "registry.example:5000/a/b:v1";
    assert!(pull(name, &options).unwrap() == fixture.layer);
    let targets = proxy.targets();
    assert!(!targets.is_empty() && targets.iter().all(|target| target == "registry.example:5000"));
    // An exception leads to a name that nobody knows, past the proxy.
    let before = registry.requests().len();
    options.network.proxies.exceptions = "example".into();
    assert!(matches!(pull(name, &options), Err(Error::Transport { .. })));
    assert_eq!((proxy.targets().len(), registry.requests().len()), (targets.len(), before));
    // The proxy for the other scheme is not asked either.
    options.network.proxies = Proxies { http: Some(proxy.url()), ..Proxies::default() };
    assert!(pull(name, &options).is_err());
    assert_eq!(proxy.targets().len(), targets.len());
}

#[test]
fn plain_http_goes_through_its_own_proxy() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    let name = "registry.example:5000";
    let names = BTreeMap::from([(name.to_owned(), registry.address())]);
    let proxy = Proxy::start(names, None).unwrap();
    let mut options = options(&[]);
    options.network.plain_http.push(name.into());
    options.network.proxies.http = Some(proxy.url());
    assert!(pull(&format!("{name}/a/b:v1"), &options).unwrap() == fixture.layer);
    assert!(!proxy.targets().is_empty());
    // This computer itself is never asked for through a proxy.
    let before = proxy.targets().len();
    options.network.plain_http.push(registry.host());
    assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
    assert_eq!(proxy.targets().len(), before);
}

#[test]
fn a_proxy_gets_the_login_of_its_address_and_no_other() {
    let fixture = fixture();
    let wanted = basic("user", "pass word");
    let (_registry, proxy, mut options) = proxied(&fixture, Some(&wanted));
    let name = "registry.example:5000/a/b:v1";
    assert!(pull(name, &options).is_err());
    assert!(proxy.targets().is_empty());
    options.network.proxies.https = Some(format!("http://user:pass%20word@{}", proxy.address()));
    assert!(pull(name, &options).unwrap() == fixture.layer);
}

/// An auth file with one entry.
fn auth_file(fixture: &Fixture, name: &str, key: &str, entry: &str) -> PathBuf {
    let path = fixture.folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, format!(r#"{{"auths":{{"{key}":{entry}}}}}"#)).unwrap();
    path
}

/// `u` with the password `p`, as auth files have it.
const USER: &str = r#"{"auth":"dTpw"}"#;

fn basic_access() -> Access {
    Access::Basic { user: "u".into(), password: "p".into() }
}

fn token_access() -> Access {
    Access::Token { user: Some(("u".into(), "p".into())), refresh: Some("r/1".into()) }
}

#[test]
fn a_redirect_gets_neither_login_nor_plain_http() {
    for consent in [true, false] {
        let fixture = fixture();
        let store = fixture.plain_registry();
        let registry = fixture.registry(Settings { access: basic_access(), ..Settings::default() });
        let target = format!("http://{}/v2/a/b{}?signature=x", store.host(), fixture.layer_path);
        registry.script(Rule::new(&fixture.layer_path, Fault::redirect(&target)));
        let mut options = options(&[&registry]);
        if consent {
            options.network.plain_http.push(store.host());
        }
        options.network.auth_files.push(auth_file(&fixture, "auth.json", &registry.host(), USER));
        let outcome = pull_from(&registry, &options);
        let asked = store.requests();
        if consent {
            assert!(outcome.unwrap() == fixture.layer);
            assert!(!asked.is_empty());
            assert!(asked.iter().all(|request| request.header("authorization").is_none()));
        } else {
            let message = outcome.unwrap_err().to_string();
            assert!(message.contains("plain HTTP is not allowed"), "{message}");
            assert!(!message.contains("signature"), "{message}");
            assert!(asked.is_empty());
        }
    }
}

#[test]
fn logins_are_found_where_docker_and_podman_put_them() {
    let fixture = fixture();
    for access in [basic_access(), token_access()] {
        let registry = fixture.registry(Settings { access, ..Settings::default() });
        let old_form = format!("https://{}/v1/", registry.host());
        for (name, key) in [
            ("run/containers/auth.json", format!("{}/a", registry.host())),
            ("docker/config.json", registry.host()),
            ("docker-of-old/config.json", old_form),
        ] {
            let mut options = options(&[&registry]);
            // A file that is not there and one about others come first and do no harm.
            options.network.auth_files = vec![
                fixture.folder.path().join("missing.json"),
                auth_file(&fixture, "others.json", "other.example", r#"{"auth":"eDp5"}"#),
                auth_file(&fixture, name, &key, USER),
            ];
            assert!(pull_from(&registry, &options).unwrap() == fixture.layer, "{name}");
        }
    }
}

#[test]
fn tokens_are_fetched_with_each_kind_of_login() {
    for (entry, method, proof) in [
        (None, "GET", ""),
        (Some(USER), "GET", "authorization: Basic dTpw"),
        (Some(r#"{"identitytoken":"r/1"}"#), "POST", "refresh_token=r%2F1"),
    ] {
        let fixture = fixture();
        let access = match entry {
            Some(_) => token_access(),
            None => Access::Token { user: None, refresh: None },
        };
        let registry = fixture.registry(Settings { access, ..Settings::default() });
        let mut options = options(&[&registry]);
        if let Some(entry) = entry {
            let key = format!("{}/a", registry.host());
            options.network.auth_files.push(auth_file(&fixture, "auth.json", &key, entry));
        }
        assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
        let tokens = registry.requests_for("/token");
        assert_eq!(tokens.len(), 1, "the token is used again");
        assert_eq!(tokens[0].method, method);
        let headers: Vec<String> =
            tokens[0].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let all = format!("{} {} {}", tokens[0].target, headers.join("\n"), tokens[0].form);
        for part in ["scope=repository%3Aa%2Fb%3Apull", "service=kiln%20lab", proof] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
}

#[test]
fn a_token_that_expires_during_a_download_is_replaced() {
    let fixture = fixture();
    let access = Access::Token { user: None, refresh: None };
    let registry = fixture.registry(Settings { access, ..Settings::default() });
    registry.script(Rule::new(&fixture.layer_path, Fault::Truncate(300_000)).times(1));
    // The second request finds that its token is no longer worth anything.
    let source = format!("docker://{}/a/b:v1", registry.host()).parse().unwrap();
    let image = kiln_registry::open(&source, &options(&[&registry])).unwrap();
    registry.revoke_tokens();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut image.open_layer(0).unwrap(), &mut bytes).unwrap();
    assert!(bytes == fixture.layer);
    assert_eq!(registry.requests_for("/token").len(), 2);
}

#[test]
fn a_missing_or_wrong_login_is_said() {
    for access in [basic_access(), token_access()] {
        let fixture = fixture();
        let registry = fixture.registry(Settings { access, ..Settings::default() });
        let mut options = options(&[&registry]);
        let error = pull_from(&registry, &options).unwrap_err();
        assert!(error.to_string().ends_with("answered 401: a login is needed"), "{error}");
        assert!(error.hint().unwrap().contains("podman login"));
        let wrong = auth_file(&fixture, "auth.json", &registry.host(), r#"{"auth":"dTp4"}"#);
        options.network.auth_files.push(wrong);
        let error = pull_from(&registry, &options).unwrap_err();
        assert!(error.to_string().ends_with("the login was not accepted"), "{error}");
    }
}

#[test]
fn credential_helpers_are_named_and_not_run() {
    let fixture = fixture();
    let registry = fixture.plain_registry();
    let proof = fixture.folder.path().join("ran");
    let path = fixture.folder.path().join("config.json");
    // The name would be a command, if anybody took it for one.
    let helper = format!("x; touch {}", proof.display());
    for text in [
        format!(r#"{{"credHelpers":{{"{}":"{helper}"}}}}"#, registry.host()),
        format!(r#"{{"auths":{{"{}":{{}}}},"credsStore":"{helper}"}}"#, registry.host()),
    ] {
        std::fs::write(&path, text).unwrap();
        let mut options = options(&[&registry]);
        options.network.auth_files.push(path.clone());
        let error = pull_from(&registry, &options).unwrap_err();
        assert!(matches!(error, Error::CredentialHelper { .. }), "{error}");
        assert!(error.hint().unwrap().contains("--authfile"), "{error:?}");
        assert!(registry.requests().is_empty() && !proof.exists());
    }
    // A store for all hosts does not forbid to ask a registry that wants no login.
    std::fs::write(&path, r#"{"credsStore":"desktop"}"#).unwrap();
    let mut options = options(&[&registry]);
    options.network.auth_files.push(path);
    assert!(pull_from(&registry, &options).unwrap() == fixture.layer);
}
