//! Those who ask slowly, or not at all, or do not listen to the answer: in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use fastway::keepalive::KeepaliveConfig;
use fastway::net::{MemoryNetwork, MemoryStream, Network as _};
use fastway_gateway::Config;
use fastway_gateway::admin::{Admin, AdminConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep, timeout};

use super::http::{Answer, answer};
use super::{Recorder, config};
use crate::support::TestGateway;

const GET: &[u8] = b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST_GET: &[u8] = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

struct Slow {
    gateway: TestGateway<MemoryNetwork>,
    addr: SocketAddr,
}

impl Slow {
    async fn start(config: Config) -> Self {
        let network = MemoryNetwork::new();
        let admin = Admin::bind(&network, AdminConfig::new("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let addr = admin.addr();
        let (gateway, _) = TestGateway::start_beside(network, config, async |gateway| {
            tokio::spawn(admin.run(gateway, Recorder::default()));
        })
        .await;
        Self { gateway, addr }
    }

    async fn connect(&self, bytes: &[u8]) -> MemoryStream {
        let mut stream = self.gateway.network.connect(&self.addr.to_string()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }
}

/// What comes until the connection ends, and how long that takes.
async fn end(mut stream: MemoryStream) -> (Vec<u8>, Duration) {
    let begun = Instant::now();
    let mut bytes = Vec::new();
    // However it ends.
    let _ = stream.read_to_end(&mut bytes).await;
    (bytes, begun.elapsed())
}

async fn read_answer(stream: &mut MemoryStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"{\"live\":true}\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_has_to_be_there_in_ten_seconds() {
    let slow = Slow::start(config()).await;
    let mut dripping = slow.connect(b"").await;
    let begun = Instant::now();
    for byte in GET {
        if dripping.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
    for silent in [&b""[..], b"GET /live HTTP/1.1\r\nHost:"] {
        let (bytes, took) = end(slow.connect(silent).await).await;
        assert!((10.0..11.0).contains(&took.as_secs_f64()), "{took:?}");
        assert!(!bytes.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_no_more_is_closed() {
    let slow = Slow::start(config()).await;
    let mut stream = slow.connect(GET).await;
    read_answer(&mut stream).await;
    let (bytes, took) = end(stream).await;
    assert!((10.0..11.0).contains(&took.as_secs_f64()), "{took:?}");
    assert!(bytes.is_empty());
}

/// It ends in order: whoever has asked is answered, and may ask again on another one.
#[tokio::test(start_paused = true)]
async fn a_connection_ends_after_a_minute_whatever_it_does() {
    let slow = Slow::start(config()).await;
    let begun = Instant::now();
    let mut stream = slow.connect(b"").await;
    let mut answers = 0;
    while stream.write_all(GET).await.is_ok() {
        let mut answer = vec![0; 1024];
        let Ok(1..) = stream.read(&mut answer).await else { break };
        answers += 1;
        sleep(Duration::from_secs(1)).await;
    }
    let took = begun.elapsed().as_secs_f64();
    assert!((59.0..63.0).contains(&took), "{took}");
    assert!(answers >= 59, "{answers}");
}

/// Some say nothing, some do not finish their question, and some have asked before: those go first who never asked anything.
#[tokio::test(start_paused = true)]
async fn those_who_hang_keep_nobody_out() {
    let slow = Slow::start(config()).await;
    let mut page = slow.connect(GET).await;
    read_answer(&mut page).await;
    for hang in [&b""[..], b"GET ", GET] {
        let mut hanging = Vec::new();
        for number in 0..64 {
            // Whoever goes on asking stays, although it is the oldest.
            if number % 10 == 0 {
                page.write_all(GET).await.unwrap();
                read_answer(&mut page).await;
            }
            let mut stream = slow.connect(hang).await;
            if hang == GET {
                read_answer(&mut stream).await;
            }
            hanging.push(stream);
        }
        let begun = Instant::now();
        let (bytes, _) = end(slow.connect(LAST_GET).await).await;
        assert!(bytes.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&bytes));
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
        // There are not more than there may be, whatever comes.
        let mut gone = 0;
        for stream in &mut hanging {
            let is_gone = timeout(Duration::from_millis(1), stream.read_u8()).await.is_ok();
            gone += usize::from(is_gone);
        }
        assert!(gone >= 2, "{gone} of {hang:?}");
    }
}

/// What has not been read is in memory until then.
#[tokio::test(start_paused = true)]
async fn a_list_that_nobody_reads_is_given_up() {
    let mut config = config();
    config.client.keepalive = KeepaliveConfig::ANSWER_ONLY;
    let slow = Slow::start(config).await;
    let mut clients = Vec::new();
    for _ in 0..3000 {
        clients.push(slow.gateway.client().await);
    }
    slow.gateway.until("they are there", |counts| counts.clients == 3000).await;
    let list = b"GET /sessions?limit=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut unread = Vec::new();
    for _ in 0..4 {
        let mut stream = slow.connect(list).await;
        // The head is there, so the list is being written.
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        unread.push(stream);
    }
    let refused: Answer = answer(slow.connect(list).await).await;
    assert!(refused.error(503).contains("several lists"));
    sleep(Duration::from_secs(71)).await;
    let list = answer(slow.connect(list).await).await;
    assert_eq!(list.json()["listed"], 3000);
    for stream in unread {
        let (bytes, _) = end(stream).await;
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "it was cut off");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_has_to_arrive_too() {
    let slow = Slow::start(config()).await;
    let begun = Instant::now();
    let post =
        b"POST /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nde";
    let answered = answer(slow.connect(post).await).await;
    assert!(answered.error(408).contains("in time"));
    assert!((5.0..6.0).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_header_beyond_32_kilobytes_is_refused() {
    let slow = Slow::start(config()).await;
    let mut head = b"GET /live HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
    head.resize(40 * 1024, b'x');
    let (bytes, took) = end(slow.connect(&head).await).await;
    assert!(bytes.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&bytes));
    assert!(took < Duration::from_secs(1));
}
