//! Settings that say under which names this server is asked for, and through which proxies.

use ipnet::IpNet;
use server::HostPattern;

use super::value::{Given, Value};

impl Value for Vec<HostPattern> {
    const MANY: bool = true;
    const NAME: &'static str = "HOST";
    const HINT: &'static str = "write names without a scheme or port, such as bell.example.com, or \
                                *.example.com for all names below";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else {
            return Err("expected a list".to_owned());
        };
        texts.iter().map(|text| text.trim().parse()).collect()
    }

    fn shown(&self) -> String {
        self.iter().map(HostPattern::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// Addresses of reverse proxies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Networks(pub(crate) Vec<IpNet>);

impl Value for Networks {
    const MANY: bool = true;
    const NAME: &'static str = "ADDRESS";
    const HINT: &'static str = "write IP addresses or networks, such as 127.0.0.1 or 10.0.0.0/8";

    fn read(given: &Given) -> Result<Self, String> {
        let Given::Many(texts) = given else {
            return Err("expected a list".to_owned());
        };
        let read = |text: &String| tasks::outgoing::network(text);
        texts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn shown(&self) -> String {
        let shown = self.0.iter().map(|network| {
            let is_one = network.prefix_len() == network.max_prefix_len();
            if is_one { network.addr().to_string() } else { network.to_string() }
        });
        shown.collect::<Vec<_>>().join(", ")
    }
}
