//! Name servers: `resolv.conf`.

use kiln_config::action::Dns;
use kiln_config::operation::Text;

use super::is_line;
use crate::{Error, Surroundings};

const RESOLV: &str = "/etc/resolv.conf";

impl Surroundings<'_> {
    pub(crate) fn dns(&mut self, dns: &Dns) -> Result<(), Error> {
        let all = |list: &[Text]| -> Result<Vec<String>, Error> {
            list.iter().map(|text| self.text(text)).collect()
        };
        let servers = all(&dns.nameservers)?;
        let search = all(&dns.search)?;
        let options = all(&dns.options)?;
        let path = dns.path.as_ref().map(|path| self.text(path)).transpose()?;
        // Without servers there is nothing to say; as yip, the rest alone changes nothing.
        if servers.is_empty() {
            return Ok(());
        }
        for value in servers.iter().chain(&search).chain(&options) {
            if !is_line(value) || value.contains(' ') {
                return Err(Error::Setting {
                    what: "a field of resolv.conf",
                    value: value.chars().filter(|letter| !letter.is_control()).take(80).collect(),
                    reason: "it is no single word",
                });
            }
        }
        let text = resolv_conf(&servers, &search, &options);
        self.settings(path.as_deref().unwrap_or(RESOLV), &text)
    }
}

/// resolv.conf(5); a search list that is only the root is none.
fn resolv_conf(servers: &[String], search: &[String], options: &[String]) -> String {
    let mut text = String::new();
    if !search.is_empty() && search != ["."] {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::resolv_conf;

    #[test]
    fn the_file_has_what_is_given() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (search, options, expected) in [
            (vec![], vec![], "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"),
            (vec!["."], vec![], "nameserver 192.0.2.1\nnameserver 192.0.2.2\n"),
            (
                vec!["a.example", "b.example"],
                vec!["ndots:2", "edns0"],
                "search a.example b.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n\
                 options ndots:2 edns0\n",
            ),
        ] {
            let servers = list(&["192.0.2.1", "192.0.2.2"]);
            assert_eq!(resolv_conf(&servers, &list(&search), &list(&options)), expected);
        }
    }
}
