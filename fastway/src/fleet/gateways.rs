//! Where the gateways are.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use tokio::net::lookup_host;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::race::race;

/// A name is looked up in this time, or not at all.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a lookup failed, the next one comes no later than this.
const FAILED_LOOKUP_EVERY: Duration = Duration::from_secs(5);

/// Lookups do not come faster than this.
const SHORTEST_EVERY: Duration = Duration::from_millis(100);

/// The address of one gateway, `HOST:PORT`: of its public port for clients, of its internal one for servers. A clone costs
/// nothing.
///
/// It is kept in the usual spelling, so that one gateway does not count as two: a name in lower case, an IP address in its
/// shortest form. A name and its IP address are two all the same; a server finds out when it connects, and is linked to that
/// gateway once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayAddr(Arc<str>);

impl GatewayAddr {
    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`FindError::Address`] if it is not a host, a colon and a port.
    pub fn new(addr: &str) -> Result<Self, FindError> {
        let (host, port) = addr.rsplit_once(':').ok_or_else(|| not_an_address(addr))?;
        let is_ipv6 = host.starts_with('[') && host.ends_with(']');
        let host_is_fine =
            !host.is_empty() && !host.contains(char::is_whitespace) && (is_ipv6 || !host.contains(':'));
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).filter(|_| host_is_fine);
        let addr = format!("{host}:{}", port.ok_or_else(|| not_an_address(addr))?);
        let usual =
            addr.parse::<SocketAddr>().map_or_else(|_| addr.to_ascii_lowercase(), |addr| addr.to_string());
        Ok(Self(usual.into()))
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GatewayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GatewayAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ordered as its text is.
impl Borrow<str> for GatewayAddr {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn not_an_address(addr: &str) -> FindError {
    FindError::Address { addr: addr.to_owned() }
}

/// Why it is not known where the gateways are.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FindError {
    /// Nobody is in the set.
    #[error("no gateway is given: at least one address is needed, as HOST:PORT")]
    Empty,
    /// Something in it is no address.
    #[error(
        "{addr:?} is not the address of a gateway: it needs a host and a port, such as gateway.example:7020"
    )]
    Address {
        /// What was given.
        addr: String,
    },
    /// The name was not resolved.
    #[error("cannot find gateways by the name {name}: {error}")]
    Resolve {
        /// Which name.
        name: String,
        /// What the resolver says.
        error: Arc<io::Error>,
    },
    /// The name was resolved, to nothing.
    #[error("there is no gateway by the name {name}: it has no addresses")]
    NoAddresses {
        /// Which name.
        name: String,
    },
}

/// Turns a name into addresses. A simulation has its own.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `name`, each as `HOST:PORT`, in any order. Whoever asks gives up after 10 s.
    ///
    /// # Errors
    ///
    /// Whatever the resolver says.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<String>>> + Send;
}

/// The operating system's resolver: A or AAAA records, and what is in `/etc/hosts`. Names are `HOST:PORT`.
///
/// Of a name that has addresses of both families it gives those of the family that the system would try first (RFC 6724): a gateway
/// that has two addresses would count as two, and a server's link to the one would end that to the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<String>> {
        Ok(of_one_family(lookup_host(name).await?).map(|addr| addr.to_string()).collect())
    }
}

fn of_one_family(addrs: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut addrs = addrs.peekable();
    let is_ipv4 = addrs.peek().is_some_and(SocketAddr::is_ipv4);
    addrs.filter(move |addr| addr.is_ipv4() == is_ipv4)
}

/// What is known about the set at one time.
pub(super) type Found = Result<BTreeSet<GatewayAddr>, FindError>;

type Updates = Pin<Box<dyn Stream<Item = Vec<String>> + Send>>;
type Lookup = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Found> + Send>> + Send>;

/// Where gateways are found: a fixed list, a name that is looked up again and again, or a stream of the caller's own.
///
/// An address that is there twice counts once.
pub struct Gateways(Source);

enum Source {
    List(BTreeSet<GatewayAddr>),
    Name { lookup: Lookup, every: Duration },
    Stream(Updates),
}

impl fmt::Debug for Gateways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::List(gateways) => f.debug_tuple("List").field(gateways).finish(),
            Source::Name { every, .. } => {
                f.debug_struct("Name").field("every", every).finish_non_exhaustive()
            }
            Source::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Gateways {
    /// Always these.
    ///
    /// # Errors
    ///
    /// [`FindError`] if there is none, or one has no port.
    pub fn list<A: AsRef<str>>(addrs: impl IntoIterator<Item = A>) -> Result<Self, FindError> {
        let gateways = read(addrs)?;
        if gateways.is_empty() { Err(FindError::Empty) } else { Ok(Self(Source::List(gateways))) }
    }

    /// All addresses of `name` (`HOST:PORT`) that the operating system's resolver knows, asked again `every` so often: the
    /// headless Service of a Kubernetes cluster, or a name with several A records.
    ///
    /// # Errors
    ///
    /// [`FindError::Address`] if it has no port.
    pub fn dns(name: &str, every: Duration) -> Result<Self, FindError> {
        GatewayAddr::new(name)?;
        Ok(Self::resolved(SystemResolver, name, every))
    }

    /// The same with another resolver, which also says what a name looks like.
    ///
    /// A lookup has 10 s. After one that failed the next comes within 5 s, however long `every` is; `every` is 100 ms at least.
    pub fn resolved(resolver: impl Resolve, name: &str, every: Duration) -> Self {
        let (resolver, name) = (Arc::new(resolver), Arc::<str>::from(name));
        let lookup = move || {
            let (resolver, name) = (resolver.clone(), name.clone());
            let found: Pin<Box<dyn Future<Output = Found> + Send>> =
                Box::pin(async move { look_up(&*resolver, &name).await });
            found
        };
        Self(Source::Name { lookup: Box::new(lookup), every: every.max(SHORTEST_EVERY) })
    }

    /// The latest that the stream says; nobody is in the set if it says that. What has a mistake in it counts as not said.
    /// When the stream ends, the last one stays.
    pub fn stream(updates: impl Stream<Item = Vec<String>> + Send + 'static) -> Self {
        Self(Source::Stream(Box::pin(updates)))
    }

    /// How long after a mistake it is looked again, if ever.
    pub(super) fn every(&self) -> Option<Duration> {
        match &self.0 {
            Source::Name { every, .. } => Some(after_failure(*every)),
            Source::List(_) | Source::Stream(_) => None,
        }
    }

    /// Begins to look. The receiver gets what is found each time; its end means that nothing will change any more. Nobody
    /// looks any longer when it is dropped.
    pub(super) fn watch(self) -> mpsc::Receiver<Found> {
        let (found, receiver) = mpsc::channel(1);
        match self.0 {
            Source::List(gateways) => {
                found.try_send(Ok(gateways)).expect("there is room for one");
            }
            Source::Name { lookup, every } => {
                tokio::spawn(until_dropped(found.clone(), async move {
                    loop {
                        let gateways = lookup().await;
                        let wait = if gateways.is_ok() { every } else { after_failure(every) };
                        if found.send(gateways).await.is_err() {
                            break;
                        }
                        sleep(wait).await;
                    }
                }));
            }
            Source::Stream(mut updates) => {
                tokio::spawn(until_dropped(found.clone(), async move {
                    while let Some(addrs) = poll_fn(|cx| updates.as_mut().poll_next(cx)).await
                        && found.send(read(addrs)).await.is_ok()
                    {}
                }));
            }
        }
        receiver
    }
}

/// Nobody looks for those who have gone, not even until the next lookup.
async fn until_dropped(found: mpsc::Sender<Found>, looking: impl Future<Output = ()>) {
    race(found.closed(), looking).await;
}

async fn look_up(resolver: &impl Resolve, name: &str) -> Found {
    let addrs = timeout(LOOKUP_TIMEOUT, resolver.resolve(name)).await.unwrap_or_else(|_| {
        let what = format!("no answer within {LOOKUP_TIMEOUT:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    });
    let addrs =
        addrs.map_err(|error| FindError::Resolve { name: name.to_owned(), error: Arc::new(error) })?;
    let gateways = read(addrs)?;
    if gateways.is_empty() { Err(FindError::NoAddresses { name: name.to_owned() }) } else { Ok(gateways) }
}

fn after_failure(every: Duration) -> Duration {
    every.min(FAILED_LOOKUP_EVERY)
}

fn read<A: AsRef<str>>(addrs: impl IntoIterator<Item = A>) -> Result<BTreeSet<GatewayAddr>, FindError> {
    addrs.into_iter().map(|addr| GatewayAddr::new(addr.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for addr in ["gateway.example:7020", "10.0.0.1:1", "[2001:db8::1]:7020", "localhost:65535"] {
            assert_eq!(GatewayAddr::new(addr).unwrap().as_str(), addr);
        }
        for (addr, usual) in [
            ("Gateway.Example:07020", "gateway.example:7020"),
            ("10.0.0.1:+1", "10.0.0.1:1"),
            ("[2001:DB8:0::1]:7020", "[2001:db8::1]:7020"),
        ] {
            assert_eq!(GatewayAddr::new(addr).unwrap().as_str(), usual);
        }
        for addr in [
            "",
            ":",
            ":7020",
            "gateway",
            "gateway:",
            "gateway:0",
            "gateway:65536",
            "2001:db8::1:7020",
            "a b:1",
        ] {
            let error = GatewayAddr::new(addr).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{addr:?}")) && error.contains("HOST") | error.contains("host"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_gateway_with_addresses_of_both_families_counts_once() {
        let of = |addrs: &[&str]| {
            let addrs = addrs.iter().map(|addr| addr.parse::<SocketAddr>().unwrap());
            of_one_family(addrs).map(|addr| addr.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(&["[fd00::1]:1", "[fd00::2]:1", "10.0.0.1:1"]), ["[fd00::1]:1", "[fd00::2]:1"]);
        assert_eq!(of(&["10.0.0.1:1", "[fd00::1]:1", "10.0.0.2:1"]), ["10.0.0.1:1", "10.0.0.2:1"]);
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn a_list_has_somebody_in_it_once() {
        assert!(matches!(Gateways::list::<&str>([]), Err(FindError::Empty)));
        assert!(matches!(Gateways::list(["a:1", "b"]), Err(FindError::Address { addr }) if addr == "b"));
        let mut found = Gateways::list(["b:1", "a:1", "b:1"]).unwrap().watch();
        let found = found.try_recv().unwrap().unwrap();
        assert_eq!(found.iter().map(GatewayAddr::as_str).collect::<Vec<_>>(), ["a:1", "b:1"]);
    }

    /// Never says anything.
    struct Silence;

    impl Resolve for Silence {
        async fn resolve(&self, _: &str) -> io::Result<Vec<String>> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_does_not_answer_is_given_up_and_asked_again_soon() {
        let gateways = Gateways::resolved(Silence, "gateways:1", Duration::from_secs(3600));
        assert_eq!(gateways.every(), Some(FAILED_LOOKUP_EVERY));
        let begun = tokio::time::Instant::now();
        let mut found = gateways.watch();
        for round in 0..2 {
            let error = found.recv().await.unwrap().unwrap_err();
            assert_eq!(
                error.to_string(),
                "cannot find gateways by the name gateways:1: no answer within 10s"
            );
            assert_eq!(begun.elapsed(), LOOKUP_TIMEOUT + (LOOKUP_TIMEOUT + FAILED_LOOKUP_EVERY) * round);
        }
    }

    /// Says something else each time.
    struct Script(parking_lot::Mutex<Vec<io::Result<Vec<String>>>>);

    impl Resolve for Script {
        async fn resolve(&self, name: &str) -> io::Result<Vec<String>> {
            assert_eq!(name, "gateways:1");
            self.0.lock().pop().unwrap_or_else(|| Ok(vec!["last:1".to_owned()]))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_again_and_again() {
        let script = vec![
            Ok(vec!["nonsense".to_owned()]),
            Ok(Vec::new()),
            Err(io::Error::other("no such name")),
            Ok(vec!["a:1".to_owned(), "b:1".to_owned()]),
        ];
        let mut found =
            Gateways::resolved(Script(parking_lot::Mutex::new(script)), "gateways:1", Duration::from_secs(5))
                .watch();
        let begun = tokio::time::Instant::now();
        assert_eq!(found.recv().await.unwrap().unwrap().len(), 2);
        let error = found.recv().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "cannot find gateways by the name gateways:1: no such name");
        assert!(matches!(found.recv().await.unwrap(), Err(FindError::NoAddresses { .. })));
        assert!(matches!(found.recv().await.unwrap(), Err(FindError::Address { .. })));
        assert_eq!(found.recv().await.unwrap().unwrap().len(), 1);
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }
}
