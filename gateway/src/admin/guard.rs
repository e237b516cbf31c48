//! Who may ask: what every request has to pass before it is looked at.
//!
//! - A web page from anywhere must not use a browser on this machine or in this network as its arm. It can name its own host an
//!   address of ours (DNS rebinding): so a name that is not known to be ours is refused. Addresses are let through, since a
//!   rebound request bears a name. And it can send us forms: so what changes something is refused if it comes from another origin.
//! - A token, if there is one, has to come with everything but the probes, as a bearer token or as the password of HTTP's basic
//!   authentication, whatever the user is called. That is what browsers can ask for, and remember for this origin.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::config::{AdminAccess, AdminToken};
use super::reply::Refused;

/// What load balancers and supervisors ask, which often can send no token. They learn one word from it.
const PROBES: [&str; 2] = ["/live", "/ready"];

/// Asks for a password in a browser, and tells others what there is besides.
const CHALLENGES: [&str; 2] =
    ["Basic realm=\"fastway admin\", charset=\"UTF-8\"", "Bearer realm=\"fastway admin\""];

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request through, or says why not.
pub(super) async fn guard(State(access): State<AdminAccess>, request: Request, next: Next) -> Response {
    let config = access.config();
    let judged = check_host(&request, &config.hosts)
        .and_then(|()| check_origin(request.method(), request.headers()))
        .and_then(|()| check_token(&request, config.token.as_ref()));
    match judged {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let is_unauthorized = refused.status == StatusCode::UNAUTHORIZED;
            let mut response = refused.into_response();
            if is_unauthorized {
                for challenge in CHALLENGES {
                    let challenge = HeaderValue::from_static(challenge);
                    response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
                }
            }
            response
        }
    }
}

/// The name that it was asked by.
fn check_host(request: &Request, hosts: &[String]) -> Result<(), Refused> {
    // Proxies may be asked for a whole URI, and then that counts; the header is looked at all the same.
    let target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let headers = request.headers().get_all(header::HOST);
    let named: Vec<_> = target.into_iter().chain(headers.iter().map(HeaderValue::as_bytes)).collect();
    if named.is_empty() && request.version() > Version::HTTP_10 {
        return Err(Refused::bad_request("there is no Host header, which HTTP/1.1 demands"));
    }
    // Without one, which HTTP/1.0 allows, it comes from no browser.
    for name in named {
        let host = host(name).ok_or_else(|| Refused::bad_request("the Host header names no host"))?;
        if !is_ours(&host, hosts) {
            let sentence = format!(
                "this is not known to be {host}: use an address or localhost, or start the gateway with --admin-host {host}"
            );
            return Err(Refused::new(StatusCode::MISDIRECTED_REQUEST, sentence));
        }
    }
    Ok(())
}

/// Without its port, nor the dot at the end of a full name.
fn host(name: &[u8]) -> Option<String> {
    let authority: Authority = name.try_into().ok()?;
    let has_user = authority.as_str().contains('@');
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty() && !has_user).then_some(host)
}

fn is_ours(host: &str, hosts: &[String]) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost"
        || address.parse::<IpAddr>().is_ok()
        || hosts.iter().any(|ours| ours.trim_end_matches('.').eq_ignore_ascii_case(host))
}

/// What changes something has to come from our own page, or from no page at all.
fn check_origin(method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let is_foreign_site = |site: &HeaderValue| !matches!(site.as_bytes(), b"same-origin" | b"none");
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    // A proxy in front may have taken the encryption off, so the scheme does not count.
    let is_foreign_origin = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host))
    };
    if headers.get_all(SEC_FETCH_SITE).iter().any(is_foreign_site)
        || headers.get_all(header::ORIGIN).iter().any(is_foreign_origin)
    {
        let sentence = "this comes from a page of another site, and changes something: use the gateway's own page, or curl";
        return Err(Refused::new(StatusCode::FORBIDDEN, sentence));
    }
    Ok(())
}

fn check_token(request: &Request, token: Option<&AdminToken>) -> Result<(), Refused> {
    let Some(token) = token else { return Ok(()) };
    if PROBES.contains(&request.uri().path()) || is_authorized(request.headers(), token) {
        return Ok(());
    }
    let sentence = "the token of --admin-token is asked for: send Authorization: Bearer TOKEN, or the token as the password of any user";
    Err(Refused::new(StatusCode::UNAUTHORIZED, sentence))
}

fn is_authorized(headers: &HeaderMap, token: &AdminToken) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, rest)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    let rest = rest.trim_matches(' ');
    if scheme.eq_ignore_ascii_case("bearer") {
        token.is(rest.as_bytes())
    } else if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(rest).unwrap_or_default();
        // The user's name has no colon, the password may.
        pair.splitn(2, |byte| *byte == b':').nth(1).is_some_and(|password| token.is(password))
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn it_answers_to_addresses_and_to_names_that_it_was_given() {
        let hosts = ["gateway-1.example".to_owned()];
        let status = |target: &str, named: &[&str]| {
            let headers: Vec<_> = named.iter().map(|host| ("host", *host)).collect();
            check_host(&request("GET", target, &headers), &hosts).err().map(|refused| refused.status.as_u16())
        };
        for host in [
            "127.0.0.1",
            "10.0.0.5:7030",
            "[::1]",
            "[fd00::5]:7030",
            "localhost",
            "LocalHost:1",
            "localhost.",
            "gateway-1.example",
            "Gateway-1.Example.:80",
        ] {
            assert_eq!(status("/", &[host]), None, "{host}");
        }
        for host in [
            "example",
            "evil.example:7030",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "xlocalhost",
            "gateway-1.example.evil.example",
            "1234",
            "0x7f.1",
        ] {
            assert_eq!(status("/", &[host]), Some(421), "{host}");
        }
        for host in ["", ":80", "a b", "localhost@evil.example", "evil.example@localhost", "/", "[::1"] {
            assert_eq!(status("/", &[host]), Some(400), "{host}");
        }
        assert_eq!(status("/", &[]), Some(400));
        assert_eq!(status("/", &["localhost", "evil.example"]), Some(421));
        assert_eq!(status("http://evil.example/", &["localhost"]), Some(421));
        assert_eq!(status("http://localhost/", &["evil.example"]), Some(421));
        assert_eq!(status("http://localhost/", &["localhost"]), None);
    }

    /// Health checks of load balancers are often of that version. Browsers know no such thing.
    #[test]
    fn http_1_0_may_leave_out_the_host() {
        let mut old = request("GET", "/ready", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(check_host(&old, &[]).is_ok());
    }

    #[test]
    fn what_changes_something_comes_from_our_own_page_or_from_none() {
        let is_let_through = |method: &str, headers: &[(&str, &str)]| {
            let headers = [&[("host", "localhost:7030")], headers].concat();
            let request = request(method, "/drain", &headers);
            check_origin(request.method(), request.headers()).is_ok()
        };
        for headers in [
            &[][..],
            &[("origin", "http://localhost:7030")],
            &[("origin", "https://localhost:7030"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(is_let_through("POST", headers), "{headers:?}");
        }
        for headers in [
            &[("origin", "http://localhost:7031")][..],
            &[("origin", "http://localhost")],
            &[("origin", "http://evil.example")],
            &[("origin", "null")],
            &[("origin", "")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:7030")],
            &[("origin", "http://localhost:7030"), ("origin", "http://evil.example")],
        ] {
            assert!(!is_let_through("POST", headers), "{headers:?}");
            assert!(!is_let_through("DELETE", headers), "{headers:?}");
            assert!(is_let_through("GET", headers), "{headers:?}");
        }
    }

    #[test]
    fn the_token_may_come_as_a_bearer_token_or_as_a_password() {
        let token = AdminToken::new("s3cret:x").unwrap();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let is_let_through = |path: &str, values: &[&str]| {
            let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            check_token(&request("GET", path, &headers), Some(&token)).is_ok()
        };
        for value in [
            "Bearer s3cret:x",
            "bearer  s3cret:x",
            &basic("admin:s3cret:x"),
            &basic(":s3cret:x"),
            &basic("x:s3cret:x").replace("Basic", "BASIC"),
        ] {
            assert!(is_let_through("/sessions", &[value]), "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cret",
            "Bearer s3cret:x,",
            "s3cret:x",
            "Digest s3cret:x",
            "Basic s3cret:x",
            &basic("s3cret:x"),
            &basic("admin:"),
            &basic("admin:S3cret:x"),
        ] {
            assert!(!is_let_through("/sessions", &[value]), "{value}");
        }
        assert!(!is_let_through("/sessions", &[]));
        assert!(!is_let_through("/sessions", &["Bearer s3cret:x", "Bearer s3cret:x"]), "which one counts?");
        for probe in PROBES {
            assert!(is_let_through(probe, &[]));
        }
        assert!(!is_let_through("/live/", &[]) && !is_let_through("/ready/..", &[]));
    }
}
