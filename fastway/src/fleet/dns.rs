//! A resolver for what the operating system's does not look up: SRV records. Only with the feature `dns`.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use domain::base::Rtype;
use domain::base::iana::Rcode;
use domain::base::name::ToName as _;
use domain::rdata::Srv;
use domain::resolv::StubResolver;
use domain::resolv::stub::Answer;
use domain::resolv::stub::conf::{ResolvConf, ResolvOptions, ServerConf, Transport};

use super::gateways::{GatewayAddr, Resolve, SystemResolver};

/// Where the operating system says who its name servers are.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What is understood of that file. Other systems write more into it, which is nothing to fail for.
const KEYWORDS: [&str; 4] = ["domain", "nameserver", "options", "search"];

/// One name server has this time for one answer, if it is not given less: so that several can be asked before whoever asks gives
/// up, and a lost datagram costs no more.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(2);

type Name = domain::base::Name<Vec<u8>>;

/// Finds gateways by SRV records, for use with [`Gateways::resolved`](super::Gateways::resolved).
///
/// - `_servers._tcp.gateways.games.svc.cluster.local`: a name that begins with an underscore has SRV records, and each of them
///   says host and port of one gateway. All count, whatever their priority and weight. Hosts stay names, which the network
///   resolves when it connects: so a gateway that comes back with another IP address is the same gateway, and its certificate
///   can name it.
/// - `gateways.example:7020`: a host and a port are left to the operating system, as
///   [`Gateways::dns`](super::Gateways::dns) does it, so that one setting can hold a name of either kind.
///
/// Nothing is kept: name servers do that, for as long as a record's TTL says.
///
/// ```
/// use std::time::Duration;
/// use fastway::fleet::{DnsResolver, FleetConfig, Gateways, Server};
/// use fastway::id::ServerId;
/// use fastway::net::TcpNetwork;
///
/// # async fn example() {
/// let name = "_servers._tcp.gateways.games.svc.cluster.local";
/// let gateways = Gateways::resolved(DnsResolver::system(), name, Duration::from_secs(5));
/// let server = Server::start(TcpNetwork::new(), gateways, ServerId::new(1), b"the key", FleetConfig::default());
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DnsResolver(NameServers);

#[derive(Clone, Debug)]
enum NameServers {
    System,
    These(Arc<[SocketAddr]>),
}

impl DnsResolver {
    /// Asks the name servers of the operating system, one after the other, in the way that `/etc/resolv.conf` says: with its
    /// `search` and `domain`, its options `attempts`, `ndots`, `timeout` (up to 2 s) and `use-vc`. The file is read for each
    /// lookup, so a change to it counts at once.
    #[must_use]
    pub fn system() -> Self {
        Self(NameServers::System)
    }

    /// Asks these name servers, one after the other, and takes every name for a whole one.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn of(name_servers: impl IntoIterator<Item = SocketAddr>) -> io::Result<Self> {
        let name_servers: Arc<[_]> = name_servers.into_iter().collect();
        if name_servers.is_empty() {
            return Err(invalid("no name server is given: at least one address is needed"));
        }
        Ok(Self(NameServers::These(name_servers)))
    }

    fn conf(&self) -> io::Result<ResolvConf> {
        match &self.0 {
            NameServers::System => read_conf(Path::new(RESOLV_CONF)),
            NameServers::These(name_servers) => {
                let mut conf = ResolvConf::new();
                conf.servers =
                    name_servers.iter().map(|addr| ServerConf::new(*addr, Transport::UdpTcp)).collect();
                Ok(conf)
            }
        }
    }

    async fn services(&self, name: &str) -> io::Result<Vec<String>> {
        let mut conf = self.conf()?;
        conf.options.timeout = conf.options.timeout.min(LONGEST_TIMEOUT);
        let mut exists = false;
        for name in candidates(name, &conf.options)? {
            let services = ask(&conf, &name).await?;
            exists |= services.is_some();
            if let Some(services) = services.filter(|services| !services.is_empty()) {
                // A target that is the root says that there is no such service.
                let real = services.iter().filter(|(target, _)| !target.is_root());
                return Ok(real.map(|(target, port)| format!("{target}:{port}")).collect());
            }
        }
        if exists {
            Ok(Vec::new())
        } else {
            Err(io::Error::new(io::ErrorKind::NotFound, "there is no such name"))
        }
    }
}

impl Resolve for DnsResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<String>> {
        if name.starts_with('_') && !name.contains(':') {
            self.services(name).await
        } else if !name.starts_with('_') && GatewayAddr::new(name).is_ok() {
            SystemResolver.resolve(name).await
        } else {
            Err(invalid(format!(
                "{name:?} is neither a name of SRV records, such as _servers._tcp.gateways.example, which say the port \
                 themselves, nor a host and a port, such as gateways.example:7020"
            )))
        }
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}

/// It is a small file, read in less time than the question takes that follows.
fn read_conf(path: &Path) -> io::Result<ResolvConf> {
    let cannot_read = |error| io::Error::other(format!("cannot read {}: {error}", path.display()));
    fs::read_to_string(path).and_then(|text| parse_conf(&text)).map_err(cannot_read)
}

fn parse_conf(text: &str) -> io::Result<ResolvConf> {
    let is_understood =
        |line: &&str| line.split_whitespace().next().is_some_and(|word| KEYWORDS.contains(&word));
    let mut conf = ResolvConf::new();
    for line in text.lines().filter(is_understood) {
        let wrong = |_| io::Error::other(format!("the line {line:?} is wrong"));
        conf.parse(&mut line.as_bytes()).map_err(wrong)?;
    }
    // Who is not told of a name server has one itself, as resolv.conf(5) says.
    conf.finalize();
    Ok(conf)
}

/// What the name may be short for, most likely first: resolv.conf(5) says how.
fn candidates(name: &str, options: &ResolvOptions) -> io::Result<Vec<Name>> {
    let whole = Name::from_str(name).map_err(|error| invalid(format!("{name:?} is not a name: {error}")))?;
    let suffixes = options.search.as_slice().iter().filter(|suffix| !suffix.is_root());
    // What gets too long by a suffix has no such form, and neither has what ends in a dot, which says that it is whole.
    let mut candidates: Vec<Name> =
        suffixes.filter_map(|suffix| Name::from_str(&format!("{name}.{suffix}")).ok()).collect();
    let has_dots = name.matches('.').count() >= options.ndots;
    candidates.insert(if has_dots { 0 } else { candidates.len() }, whole);
    Ok(candidates)
}

/// Asks one name server after the other until one answers. `None`: there is no such name.
async fn ask(conf: &ResolvConf, name: &Name) -> io::Result<Option<Vec<(Name, u16)>>> {
    let mut last_error = None;
    for _ in 0..conf.options.attempts.max(1) {
        for server in &conf.servers {
            // Nothing of it is left afterwards, but for a TCP connection if it took one: that is idle for 10 s, and closed.
            let only_this = ResolvConf { servers: vec![server.clone()], options: conf.options.clone() };
            let answer = StubResolver::from_conf(only_this).query((name, Rtype::SRV)).await;
            match answer.and_then(|answer| read(&answer)) {
                Ok(services) => return Ok(services),
                Err(error) => last_error = Some((server.addr, error)),
            }
        }
    }
    Err(match last_error {
        Some((addr, error)) if error.kind() == io::ErrorKind::TimedOut => {
            let what = format!("no answer from the name server {addr} within {:?}", conf.options.timeout);
            io::Error::new(io::ErrorKind::TimedOut, what)
        }
        Some((addr, error)) => io::Error::other(format!("no answer from the name server {addr}: {error}")),
        None => invalid("there is no name server to ask"),
    })
}

/// Target and port of each record.
fn read(answer: &Answer) -> io::Result<Option<Vec<(Name, u16)>>> {
    let malformed = |error| io::Error::other(format!("its answer is malformed: {error}"));
    match answer.header().rcode() {
        Rcode::NOERROR => {
            let mut services = Vec::new();
            for record in answer.answer().map_err(malformed)?.limit_to_in::<Srv<_>>() {
                let record = record.map_err(malformed)?;
                services.push((record.data().target().to_name(), record.data().port()));
            }
            Ok(Some(services))
        }
        Rcode::NXDOMAIN => Ok(None),
        code => Err(io::Error::other(format!("it says {code}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_candidates(text: &str, name: &str, expected: &[&str]) {
        let candidates = candidates(name, &parse_conf(text).unwrap().options).unwrap();
        assert_eq!(candidates.iter().map(Name::to_string).collect::<Vec<_>>(), expected, "{name}");
    }

    #[test]
    fn a_short_name_is_tried_with_each_suffix() {
        let cluster =
            "search games.svc.cluster.local svc.cluster.local\nnameserver 10.0.0.10\noptions ndots:5\n";
        let short = "_servers._tcp.gateways";
        let with_games = format!("{short}.games.svc.cluster.local");
        assert_candidates(cluster, short, &[&with_games, &format!("{short}.svc.cluster.local"), short]);
        assert_candidates(cluster, &format!("{short}."), &[short]);
        // It has six dots.
        assert_candidates(
            cluster,
            &with_games,
            &[
                &with_games,
                &format!("{with_games}.games.svc.cluster.local"),
                &format!("{with_games}.svc.cluster.local"),
            ],
        );
        // One dot is enough where nothing is said.
        assert_candidates("domain example", short, &[short, &format!("{short}.example")]);
        assert_candidates("", short, &[short]);
        // No name is longer than 255 bytes, so this one has no longer form.
        let long = format!("_servers.{}", ["a".repeat(60).as_str(); 4].join("."));
        assert_candidates("search example", &long, &[&long]);
    }

    #[test]
    fn resolv_conf_is_read_as_far_as_it_is_understood() {
        let found = parse_conf(
            "# by hand\nlookup file bind\nnameserver 10.0.0.1\nnameserver 2001:db8::1\noptions timeout:1 attempts:3 trust-ad\n",
        )
        .unwrap();
        let addrs: Vec<_> = found.servers.iter().map(|server| server.addr.to_string()).collect();
        assert_eq!(addrs, ["10.0.0.1:53", "[2001:db8::1]:53"]);
        assert_eq!((found.options.timeout, found.options.attempts), (Duration::from_secs(1), 3));
        assert_eq!(parse_conf("").unwrap().servers[0].addr.to_string(), "127.0.0.1:53");
    }

    #[test]
    fn what_is_wrong_with_resolv_conf_is_said() {
        let error = read_conf(Path::new("/no/such/file")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /no/such/file: No such file"), "{error}");
        for line in ["nameserver", "nameserver 10.0.0.1 10.0.0.2", "domain a..b", "options ndots:many"] {
            let error = parse_conf(&format!("search example\n{line}\n")).unwrap_err().to_string();
            assert_eq!(error, format!("the line {line:?} is wrong"));
        }
    }
}
