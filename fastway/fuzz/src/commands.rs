//! Commands in both directions.

use std::fmt::Debug;

use fastway::command::{CommandError, CommandFrame, ToEndpoint, ToGateway};
use fastway::extensions::{ClientAddr, DrainNotice, Grant, ask, ask_as_client, asked, asked_by_client};
use fastway::frame::{HEADER_BYTES, MaxPacket, Split, split};
use fastway::id::RemoteId;

/// Any message is a command, or an error that says what is wrong with it; and a command means the same when it is said
/// again.
pub fn commands(message: &[u8]) {
    check(message, ToGateway::decode, ToGateway::encode);
    check(message, ToEndpoint::decode, ToEndpoint::encode);
    behind(message);
}

/// What stands behind the arguments is a question, an answer, an address, a notice, or nothing; and it means the same when it is said
/// again. To old peers it is the command that it was.
fn behind(message: &[u8]) {
    if let Some(wishes) = asked(message) {
        assert_eq!(ToGateway::decode(message), Ok(ToGateway::Dial { remote: RemoteId::new(0) }));
        let again = ask(wishes);
        assert!(message.starts_with(&again.as_ref()[HEADER_BYTES..]), "{wishes:?}");
        assert_eq!(asked(&again.as_ref()[HEADER_BYTES..]), Some(wishes));
    }
    if let Some(grant) = Grant::decode(message) {
        assert_eq!(ToEndpoint::decode(message), Ok(ToEndpoint::Refuse { remote: RemoteId::new(0) }));
        let max = MaxPacket::new(message.len() as u32 + 4).expect("a grant is longer than any command");
        let again = Grant::encode(grant.extensions(), grant.earlier(), max);
        let again = Grant::decode(&again[HEADER_BYTES..]).expect("it was said again");
        assert_eq!(again.extensions(), grant.extensions());
        assert!(again.earlier().eq(grant.earlier()), "{grant:?}");
    }
    if let Some(wishes) = asked_by_client(message) {
        assert_eq!(ToGateway::decode(message), Ok(ToGateway::Close { conn: None }));
        assert!(message.starts_with(&ask_as_client(wishes).as_ref()[HEADER_BYTES..]), "{wishes:?}");
    }
    if let Some(notice) = DrainNotice::decode(message) {
        assert_eq!(ToEndpoint::decode(message), Ok(ToEndpoint::Close { conn: None }));
        let again = notice.encode();
        assert_eq!(DrainNotice::decode(&again.as_ref()[HEADER_BYTES..]), Some(notice));
    }
    if let Some(addr) = ClientAddr::behind(message) {
        assert_eq!(ClientAddr::decode(&addr.encode()), addr);
    }
}

fn check<C: Copy + Debug + PartialEq>(
    message: &[u8],
    decode: fn(&[u8]) -> Result<C, CommandError>,
    encode: fn(C) -> CommandFrame,
) {
    let command = match decode(message) {
        Ok(command) => command,
        Err(error) => return check_error(message, error),
    };
    let encoded = encode(command);
    let smallest = MaxPacket::new(MaxPacket::SMALLEST).expect("the smallest limit is one");
    let Ok(Split::Frame(frame, [])) = split(encoded.as_ref(), smallest) else {
        panic!("{command:?} is not encoded as one frame");
    };
    assert_eq!(frame.conn(), None);
    assert!(message.starts_with(frame.message()), "{command:?} leaves out what was not ignored");
    assert_eq!(decode(frame.message()), Ok(command));
}

fn check_error(message: &[u8], error: CommandError) {
    let is_true = match (error, message.split_first()) {
        (CommandError::NoType, None) => true,
        (CommandError::UnknownType(said), Some((is, _))) => said == *is && said > 5,
        (CommandError::WrongDirection(said), Some((is, _))) => said == *is && said < 4,
        (CommandError::TooShort { command_type, needed, actual }, Some((is, arguments))) => {
            command_type == *is && actual == arguments.len() && actual < needed && needed <= 8
        }
        (CommandError::ZeroConnId(said), Some((is, arguments))) => said == *is && arguments[..4] == [0; 4],
        _ => false,
    };
    assert!(is_true, "{error:?}");
}
