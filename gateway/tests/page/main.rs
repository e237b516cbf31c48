//! The status page in a browser: what it shows of what the gateway says, at one server and at a thousand; what it does when
//! the gateway is gone; and how long it takes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod browser;
#[path = "../../src/admin/page.rs"]
mod page;
mod real;
mod site;
mod world;

use axum::http::StatusCode;
use parking_lot::{RwLock, RwLockReadGuard};
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::site::Site;
use crate::world::{lively, steady, traffic};

const NO_ERRORS: [String; 0] = [];

/// Tests share the machine, but for the one that takes the time.
static MACHINE: RwLock<()> = RwLock::new(());

struct Visit {
    browser: Browser,
    site: Site,
    _machine: Option<RwLockReadGuard<'static, ()>>,
}

/// A browser that shows this, and the site that says it.
fn visit(status: impl Fn(u64) -> Value + Send + 'static) -> Option<Visit> {
    let machine = MACHINE.read();
    Some(Visit { _machine: Some(machine), ..visit_alone(status)? })
}

fn visit_alone(status: impl Fn(u64) -> Value + Send + 'static) -> Option<Visit> {
    let browser = Browser::start()?;
    let site = Site::start(status);
    browser.open(&site.url());
    has_rates(&browser);
    Some(Visit { browser, site, _machine: None })
}

/// Rates are differences, so it takes two answers.
fn has_rates(browser: &Browser) {
    browser.until("/\\d/.test(document.querySelector('#n-to-bytes').innerText)");
}

/// Lines and columns of a table, as they are read.
fn rows(browser: &Browser, table: &str) -> Vec<Vec<String>> {
    let body = format!(
        "return [...document.querySelectorAll('{table} tbody:not(.gap) tr')]
            .map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
    );
    serde_json::from_value(browser.run(&body)).unwrap()
}

#[test]
fn it_shows_what_the_gateway_says() {
    let Some(Visit { browser, site: _site, _machine }) = visit(|second| steady(1, second)) else { return };
    // Again after a reload, which begins without a past.
    for _ in 0..2 {
        let shown = |selector: &str| browser.text(selector);
        assert_eq!(shown("#state span"), "Ready");
        assert_eq!(shown("#version"), "1.2.3");
        assert_eq!(shown("#threads"), "3");
        assert_eq!(shown("#client-addr"), "0.0.0.0:7010");
        assert_eq!(shown("#server-addr"), "127.0.0.1:7020");
        assert_eq!(shown("#uptime"), "1 d 2 h");
        assert_eq!(shown("#n-clients"), "12,345");
        assert_eq!(shown("#n-servers"), "1");
        assert_eq!(shown("#n-conns"), "54,321");
        assert_eq!(shown("#n-to-messages"), "100 /s");
        assert_eq!(shown("#n-to-bytes"), "1.00 KiB/s");
        assert_eq!(shown("#n-from-messages"), "50 /s");
        assert_eq!(shown("#n-from-bytes"), "512 B/s");
        assert_eq!(shown("#n-buffered"), "512 MiB");
        assert_eq!(shown("#n-buffered-of"), "50 % of 1.00 GiB");
        assert_eq!(shown("#warnings").replace('\n', " "), "▪ Critical Server 9 is slow");

        let server = [
            "1",
            "10.0.0.5:40001",
            "1,201",
            "100 /s",
            "1.00 KiB/s",
            "50 /s",
            "512 B/s",
            "16.0 MiB",
            "",
            "1 h 0 min",
            "×",
        ];
        assert_eq!(rows(&browser, "#servers"), [server]);
        let client = ["77", "[2001:db8::1]:5000", "768 KiB", "3 s", "×"];
        assert_eq!(rows(&browser, "#slowest"), [client]);
        assert_eq!(browser.run("return document.querySelector('#servers .bar i').style.width"), "25%");
        let picture = shown("#topology svg");
        for part in ["12,345", "54,321", "50 % buffered", "→ 1.00 KiB/s", "← 512 B/s", "▪ 1 takes nothing"]
        {
            assert!(picture.contains(part), "{part}: {picture}");
        }
        let reasons = shown("#reasons");
        for part in
            ["98,765", "client ended", "the peer closed it", "refused", "+2.0 /s", "it knows the password"]
        {
            assert!(reasons.contains(part), "{part}: {reasons}");
        }
        assert!(!reasons.contains("never happened"), "{reasons}");
        let title = browser.run("return document.title");
        assert_eq!(title, "● 12,345 clients, 1 server – fastway");
        assert_eq!(browser.errors(), NO_ERRORS);
        browser.reload();
        has_rates(&browser);
    }
}

#[test]
fn it_says_that_there_is_nobody() {
    let Some(Visit { browser, site: _site, _machine }) = visit(|second| {
        let mut world = steady(0, second);
        for list in ["refusals", "ended", "slowest_clients", "warnings"] {
            world[list] = json!([]);
        }
        world["now"]["clients"] = json!(0);
        world
    }) else {
        return;
    };
    assert!(browser.text("#topology svg").contains("they connect to 127.0.0.1:7020"));
    assert_eq!(browser.text("#servers"), "No server.");
    assert_eq!(browser.text("#slowest"), "Nothing waits for any client.");
    assert_eq!(browser.text("#no-reasons"), "Nobody was refused, and no session has ended.");
    assert_eq!(browser.run("return document.querySelector('#warnings').hidden"), true);
    assert_eq!(browser.errors(), NO_ERRORS);
}

#[test]
fn a_thousand_servers_can_be_looked_through() {
    const SERVERS: u64 = 1000;
    let Some(Visit { browser, site: _site, _machine }) = visit(|second| steady(SERVERS, second)) else {
        return;
    };
    assert_eq!(browser.text("#servers-count"), "1,000");
    assert_eq!(browser.text("#n-to-bytes"), "489 MiB/s");
    let picture = browser.text("#topology svg");
    assert!(picture.contains("and 992 others"), "{picture}");
    assert!(picture.contains("▪ 1000"), "{picture}");

    let first_and_number = || {
        let rows = rows(&browser, "#servers");
        (rows[0][0].clone(), rows.len())
    };
    let (first, number) = first_and_number();
    assert_eq!(first, "1");
    assert!((16..60).contains(&number), "{number} rows exist");
    browser.run("document.querySelector('#servers th.toBytes button').click()");
    assert_eq!(first_and_number().0, "1000");
    browser.run("document.querySelector('#servers th.toBytes button').click()");
    assert_eq!(first_and_number().0, "1");
    browser.run("document.querySelector('#servers .scroll').scrollTop = 1e6");
    browser.until("[...document.querySelectorAll('#servers td.id')].at(-1).innerText.trim() === '1000'");
    assert!(first_and_number().1 < 60);
    let filter = |words: &str| {
        let set = format!("const box = document.querySelector('#filter'); box.value = '{words}'");
        browser.run(&format!("{set}; box.dispatchEvent(new Event('input'))"));
        rows(&browser, "#servers").into_iter().map(|row| row[0].clone()).collect::<Vec<_>>()
    };
    assert_eq!(filter("#77"), ["77"]);
    assert_eq!(filter("10.0.0.5:40998"), ["998"]);
    assert_eq!(filter("99 40991"), ["991"]);
    assert_eq!(browser.text("#servers-count"), "1 of 1,000");
    assert_eq!(filter("nobody").len(), 0);
    filter("");

    assert_eq!(browser.errors(), NO_ERRORS);
}

#[test]
fn an_update_at_a_thousand_servers_takes_less_than_a_frame() {
    const FRAME_MS: f64 = 16.0;
    let _alone = MACHINE.write();
    let Some(Visit { browser, site: _site, .. }) = visit_alone(|second| steady(1000, second)) else { return };
    let mut took = Vec::new();
    while took.len() < 12 {
        let before = browser.text("#drawn");
        browser.until(&format!("document.querySelector('#drawn').innerText !== {before:?}"));
        let said = browser.text("#drawn");
        let number = said.split("drawn in ").nth(1).unwrap().trim_end_matches(" ms");
        took.push(number.parse::<f64>().unwrap());
    }
    // Whoever else uses the machine makes some of them slow, but not all.
    took.sort_by(f64::total_cmp);
    assert!(took[took.len() / 4] < FRAME_MS, "sorted, in ms: {took:?}");
}

#[test]
fn it_says_since_when_the_gateway_is_gone_and_notices_when_it_is_back() {
    let Some(Visit { browser, mut site, _machine }) = visit(|second| steady(3, second)) else { return };
    site.end();
    browser.until("document.querySelector('#state span').innerText === 'Unreachable'");
    let lost = browser.text("#lost");
    assert!(lost.starts_with("The gateway cannot be reached since "), "{lost}");
    assert_eq!(browser.run("return document.title"), "✕ unreachable – fastway");
    assert_eq!(browser.run("return getComputedStyle(document.querySelector('main')).filter"), "grayscale(1)");
    assert_eq!(browser.run("return document.querySelector('#drain').disabled"), true);
    assert_eq!(browser.text("#n-clients"), "12,345", "the last that is known stays there");

    // It was started anew: all that it counts begins at nothing, and so do rates.
    site.say(|second| {
        let mut world = steady(3, second);
        world["gateway"]["started"] = json!("2026-01-02T04:00:00Z");
        world["gateway"]["uptime_s"] = json!(1 + second);
        world
    });
    site.begin();
    browser.until("document.querySelector('#state span').innerText === 'Ready'");
    assert_eq!(browser.text("#uptime").split(' ').nth(1), Some("s"));
    has_rates(&browser);
    assert_eq!(browser.text("#n-to-bytes"), "6.00 KiB/s");
    assert!((1..8).contains(&points(&browser, "#c-bytes .line")));
    assert_eq!(browser.run("return document.querySelector('#lost').hidden"), true);
    let others: Vec<_> = browser
        .errors()
        .into_iter()
        .filter(|line| !line.contains("/status - Failed to load resource"))
        .collect();
    assert_eq!(others, NO_ERRORS);
}

#[test]
fn what_comes_from_a_peer_is_text_wherever_it_is_shown() {
    const HOSTILE: &str = "<img src=x onerror='hacked = 1'><script>hacked = 1</script>\"'&amp;";
    let Some(Visit { browser, site: _site, _machine }) = visit(|second| {
        let mut world = steady(2, second);
        for place in ["version", "client_addr", "server_addr", "started"] {
            world["gateway"][place] = json!(HOSTILE);
        }
        for place in [
            "/servers/0/peer",
            "/slowest_clients/0/peer",
            "/refusals/1/words",
            "/ended/0/words",
            "/ended/0/side",
            "/warnings/0/text",
            "/warnings/0/level",
        ] {
            *world.pointer_mut(place).unwrap() = json!(HOSTILE);
        }
        world
    }) else {
        return;
    };
    let shown = |selector: &str| browser.text(selector);
    for place in ["#version", "#client-addr", "#servers td.peer", "#slowest td.peer", "#warnings li span"] {
        assert_eq!(shown(place), HOSTILE, "{place}");
    }
    assert!(shown("#reasons").contains(HOSTILE));
    browser.run("document.querySelector('#servers .x').click()");
    assert!(shown("#ask-text").contains(HOSTILE));
    assert_eq!(browser.run("return document.querySelectorAll('img, body script').length"), 0);
    assert_eq!(browser.run("return typeof hacked"), "undefined");
    assert_eq!(browser.errors(), NO_ERRORS);
}

#[test]
fn it_asks_before_it_drains_or_closes() {
    let Some(Visit { browser, site, _machine }) = visit(|second| steady(2, second)) else { return };
    let click = |selector: &str| browser.run(&format!("document.querySelector({selector:?}).click()"));
    let is_open = |open: bool| browser.until(&format!("document.querySelector('#ask').open === {open}"));

    click("#drain");
    assert!(browser.text("#ask").contains("12,345"));
    click("#ask [value=no]");
    is_open(false);
    assert_eq!(site.posts(), NO_ERRORS);
    click("#drain");
    click("#ask-yes");
    is_open(false);
    assert_eq!(site.posts(), ["/drain"]);
    site.say(|second| {
        let mut world = steady(2, second);
        world["gateway"]["ready"] = json!(false);
        world["gateway"]["draining"] = json!(true);
        world
    });
    browser.until("document.querySelector('#state span').innerText === 'Draining'");
    assert_eq!(browser.run("return document.title"), "◐ draining – fastway");
    assert_eq!(browser.run("return document.querySelector('#drain').disabled"), true);

    click("#servers .x");
    assert!(browser.text("#ask").contains("server 1 (10.0.0.5:40001)"));
    click("#ask-yes");
    is_open(false);
    click("#slowest .x");
    site.answer(StatusCode::NOT_FOUND, json!({ "error": "there is no client 77" }));
    click("#ask-yes");
    browser.until("!document.querySelector('#ask-error').hidden");
    assert_eq!(browser.text("#ask-error"), "there is no client 77");
    assert_eq!(site.posts(), ["/drain", "/sessions/server/1/close", "/sessions/client/77/close"]);
}

#[test]
fn a_server_that_takes_over_an_id_has_no_past() {
    let Some(Visit { browser, site, _machine }) = visit(|second| steady(1, second)) else { return };
    // Half a minute later, so that a past would be a long one.
    site.say(|second| {
        let mut world = steady(1, 30 + second);
        world["servers"][0]["age_s"] = json!(second);
        world["servers"][0]["sent"] = traffic(10 * second, 2048 * second);
        world
    });
    browser.until("document.querySelector('#servers td.toBytes').innerText.trim() === '2.00 KiB/s'");
    assert_eq!(rows(&browser, "#servers")[0][3], "10 /s");
    assert!((1..8).contains(&points(&browser, "#servers .line")));
    assert!(points(&browser, "#c-bytes .line") > 14, "the gateway has its past");
    assert_eq!(browser.errors(), NO_ERRORS);
}

/// Of how many points a curve is.
fn points(browser: &Browser, curve: &str) -> u64 {
    let body = format!("return document.querySelector('{curve}').getAttribute('d').split('L').length - 1");
    browser.run(&body).as_u64().unwrap()
}

/// `cargo test -p fastway-gateway --test page -- --ignored` draws the pictures of the README anew.
#[test]
#[ignore = "it changes files"]
fn take_the_pictures() {
    const SECONDS: u64 = 5;
    for (servers, dark, name, height) in [(8, false, "status", 900), (1000, true, "status-dark", 858)] {
        let Some(Visit { browser, site: _site, _machine }) =
            visit(move |asked| lively(servers, asked * SECONDS))
        else {
            return;
        };
        browser.look(1280, height, dark);
        // Five minutes of its clock.
        for _ in 0..300 / SECONDS {
            let before = browser.text("#uptime");
            let before = format!("{before}{}", browser.text("#drawn"));
            browser.until(&format!("document.querySelector('#uptime').innerText + document.querySelector('#drawn').innerText !== {before:?}"));
        }
        let path = format!("{}/../docs/{name}.png", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, browser.screenshot()).unwrap();
        assert_eq!(browser.errors(), NO_ERRORS);
    }
}
