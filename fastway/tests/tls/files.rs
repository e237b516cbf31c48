//! Certificates and keys as they are in files, and what is said of those that cannot be used.

use std::time::SystemTime;

use fastway::net::tls::{Authorities, Identity, TlsAcceptor, TlsError};
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, date_time_ymd};

use super::authority::Authority;

fn error(certificate: &str, key: &str) -> TlsError {
    Identity::from_pem(certificate.as_bytes(), key.as_bytes()).expect_err("it cannot be used")
}

#[test]
fn what_cannot_be_an_identity_is_said_in_a_sentence() {
    let authority = Authority::new();
    let pem = authority.issue("a.example");
    let (certificate, key) = (pem.certificate.as_str(), pem.key.as_str());
    let other = authority.issue("b.example");
    let valid = |from, to| {
        authority.issue_with("a.example", |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        })
    };
    let (old, future) = (valid(2000, 2001), valid(3000, 3001));
    let cut = &certificate[..certificate.len() / 2];
    let broken = certificate.replacen("MII", "AAA", 1);
    for (certificate, key, words, about_the_key) in [
        ("", key, "it is empty", false),
        (" \n", key, "it is empty", false),
        (key, key, "there is no certificate in it", false),
        ("no PEM", key, "there is no certificate in it", false),
        (cut, key, "not valid PEM", false),
        (&broken, key, "malformed", false),
        (certificate, "", "it is empty", true),
        (certificate, certificate, "there is no private key in it", true),
        (certificate, &other.key, "not the one of the certificate", true),
        (&old.certificate, &old.key, "expired", false),
        (&future.certificate, &future.key, "not valid yet", false),
    ] {
        let error = error(certificate, key);
        assert!(error.to_string().contains(words), "{words:?} is not in {error}");
        assert_eq!(error.is_about_the_key(), about_the_key, "{error}");
    }
}

#[test]
fn an_authority_is_one_that_may_vouch_for_others() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pem = authority.issue("a.example");
    assert!(Authorities::from_pem([authority.pem(), other.pem()].concat().as_bytes()).is_ok());
    for (pem, expected) in [
        (pem.certificate.clone(), TlsError::NotAnAuthority),
        ([authority.pem(), pem.certificate].concat(), TlsError::NotAnAuthority),
        (pem.key, TlsError::NoCertificate),
        (String::new(), TlsError::Empty),
    ] {
        assert_eq!(Authorities::from_pem(pem.as_bytes()).unwrap_err(), expected);
    }
}

#[test]
fn a_key_may_be_of_any_usual_kind() {
    for kind in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap();
        Identity::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    }
}

/// Whatever is in memory of a key stays there.
#[test]
fn the_key_is_not_printed() {
    let pem = Authority::new().issue("a.example");
    let printed = format!("{:?}", pem.identity());
    let secret = pem.key.lines().nth(1).unwrap();
    assert!(!printed.contains(secret) && printed.len() < 200, "{printed}");
}

/// Also if that is one that leads to the CA: whoever verifies the chain refuses it then.
#[test]
fn a_chain_is_valid_until_the_first_of_its_certificates_expires() {
    let authority = Authority::new();
    let dated = |from, to| {
        authority.issue_with("a.example", |params| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        })
    };
    let year = |year| SystemTime::from(date_time_ymd(year, 1, 1));
    let (own, longer, shorter, expired) =
        (dated(2020, 3000), dated(1970, 9999), dated(2021, 2999), dated(2000, 2001));
    for (others, from, to) in [
        (vec![], 2020, 3000),
        (vec![&longer], 2020, 3000),
        (vec![&longer, &shorter], 2021, 2999),
        (vec![&shorter, &expired], 2000, 2001),
    ] {
        let chain: String = std::iter::once(&own).chain(others).map(|pem| pem.certificate.as_str()).collect();
        let identity = Identity::from_pem(chain.as_bytes(), own.key.as_bytes()).unwrap();
        assert_eq!(identity.validity(), year(from)..=year(to));
        assert_eq!(TlsAcceptor::new(identity, None).unwrap().validity(), year(from)..=year(to));
    }
    assert_eq!(longer.identity().validity(), SystemTime::UNIX_EPOCH..=year(9999));
    let older = dated(1969, 9999);
    let error = Identity::from_pem(older.certificate.as_bytes(), older.key.as_bytes()).unwrap_err();
    assert!(matches!(error, TlsError::MalformedCertificate(_)), "nobody could read these dates: {error}");
}
