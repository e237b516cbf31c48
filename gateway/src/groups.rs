//! Server groups as they were meant: several servers that serve one ID together. Nothing here knows who is registered; that
//! is in `members`.

use std::fmt;
use std::str::FromStr;

use fastway::id::ServerId;

/// More groups than that are a mistake of whatever writes the list: each server that comes is looked for in all of them.
const MOST_GROUPS: usize = 1024;

/// An ID that stands for several servers: a client that dials it gets one of those that are registered.
///
/// It is written as it is typed: `ID=MEMBERS`, or `ID=MEMBERS:POLICY`.
///
/// ```
/// use fastway_gateway::{GroupPolicy, ServerGroup};
///
/// let group: ServerGroup = "1000=1001-1010:client".parse()?;
/// assert!(group.serves(1001.into()) && group.serves(1010.into()) && !group.serves(1011.into()));
/// assert_eq!(group.policy(), GroupPolicy::Client);
///
/// // All IDs whose upper 16 bits are these.
/// let group: ServerGroup = "0x01020000=0x01020000/16".parse()?;
/// assert_eq!(group.to_string(), "16908288=16908288-16973823:least");
/// # Ok::<(), fastway_gateway::GroupError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerGroup {
    id: ServerId,
    first: ServerId,
    last: ServerId,
    policy: GroupPolicy,
}

/// Which member of a group a client gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupPolicy {
    /// The one with the fewest virtual connections that are open at this gateway, whoever dialled them.
    #[default]
    Least,
    /// The same one for all clients of an address, at every gateway, as long as the same members are there. An IPv6 address
    /// stands for its network of 64 bits.
    Client,
}

/// Why a text is no group, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// It has another form.
    #[error(
        "a group is ID=FIRST-LAST, such as 1000=1001-1010, or ID=PREFIX/BITS, such as 1=0x01020000/16; a policy may be behind it, \
         such as 1000=1001-1010:client"
    )]
    Form,
    /// Something that is to be an ID is none.
    #[error("{text:?} is no server ID, which is a whole number from 0 to 4294967295, such as 1000")]
    Id {
        /// What stands there.
        text: String,
    },
    /// There is nothing between = and the policy.
    #[error("the group has no members: write their IDs behind the =, such as {id}=1001-1010")]
    NoMembers {
        /// The group's own ID.
        id: ServerId,
    },
    /// The first member has a higher ID than the last one.
    #[error("{first}-{last} runs backwards: write {last}-{first}")]
    Backwards {
        /// What should be the first.
        first: ServerId,
        /// What should be the last.
        last: ServerId,
    },
    /// An ID has no so many bits.
    #[error("a prefix has from 0 to 32 bits, such as 0x01020000/16, and not {text:?}")]
    Bits {
        /// What stands there.
        text: String,
    },
    /// Lower bits are set, so it is not clear which range was meant.
    #[error("{id}/{bits} has bits behind the first {bits}: write {first}/{bits}, which is {first}-{last}")]
    NoPrefix {
        /// What stands before the slash.
        id: ServerId,
        /// What stands behind it.
        bits: u32,
        /// The first of the IDs that begin alike.
        first: ServerId,
        /// The last of them.
        last: ServerId,
    },
    /// There is no such policy.
    #[error(
        "there is no policy {text:?}: write least, for the member with the fewest virtual connections, or client, for always \
         the same one by the client's address"
    )]
    Policy {
        /// What stands there.
        text: String,
    },
}

/// Why groups cannot be there together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupsError {
    /// Two groups have the same ID.
    #[error(
        "--server-groups has {first} and {second}, with the same ID: leave one of them out, or give it another ID"
    )]
    Twice {
        /// The one that comes first.
        first: ServerGroup,
        /// The other one.
        second: ServerGroup,
    },
    /// A group would be a member of another one.
    #[error(
        "--server-groups has {inner}, whose ID is among the members of {outer}, but a group cannot be a member: give it an ID \
         outside of that range"
    )]
    Nested {
        /// Whose ID it is.
        inner: ServerGroup,
        /// Whose range it is in.
        outer: ServerGroup,
    },
    /// Too many.
    #[error("--server-groups has {count} groups, but may have {MOST_GROUPS} at most")]
    TooMany {
        /// So many.
        count: usize,
    },
}

impl ServerGroup {
    /// The group with this ID, of the servers from `first` to `last`.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub fn new(
        id: ServerId,
        first: ServerId,
        last: ServerId,
        policy: GroupPolicy,
    ) -> Result<Self, GroupError> {
        if first > last {
            return Err(GroupError::Backwards { first, last });
        }
        Ok(Self { id, first, last, policy })
    }

    /// What clients dial.
    #[must_use]
    pub fn id(&self) -> ServerId {
        self.id
    }

    /// Which member they get.
    #[must_use]
    pub fn policy(&self) -> GroupPolicy {
        self.policy
    }

    /// Whether the server of this ID is a member. Whoever registers the group's own ID is one as well: a server that was there
    /// before there was a group goes on to serve.
    #[must_use]
    pub fn serves(&self, id: ServerId) -> bool {
        id == self.id || self.has_in_range(id)
    }

    fn has_in_range(&self, id: ServerId) -> bool {
        (self.first..=self.last).contains(&id)
    }

    /// Judges whether these can be there together.
    pub(crate) fn check_all(groups: &[Self]) -> Result<(), GroupsError> {
        if groups.len() > MOST_GROUPS {
            return Err(GroupsError::TooMany { count: groups.len() });
        }
        for (index, group) in groups.iter().enumerate() {
            let others = || groups.iter().enumerate().filter(|(other, _)| *other != index);
            if let Some((_, first)) = others().take(index).find(|(_, other)| other.id == group.id) {
                return Err(GroupsError::Twice { first: first.clone(), second: group.clone() });
            }
            if let Some((_, outer)) = others().find(|(_, other)| other.has_in_range(group.id)) {
                return Err(GroupsError::Nested { inner: group.clone(), outer: outer.clone() });
            }
        }
        Ok(())
    }
}

impl fmt::Display for ServerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, first, last, policy } = self;
        write!(f, "{id}={first}-{last}:{policy}")
    }
}

impl fmt::Display for GroupPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Least => "least",
            Self::Client => "client",
        })
    }
}

impl FromStr for ServerGroup {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, GroupError> {
        let (own, rest) = text.trim().split_once('=').ok_or(GroupError::Form)?;
        let own = id(own)?;
        let (members, policy) = match rest.split_once(':') {
            Some((members, policy)) => (members, policy.parse()?),
            None => (rest, GroupPolicy::default()),
        };
        if members.is_empty() {
            return Err(GroupError::NoMembers { id: own });
        }
        let (first, last) = match (members.split_once('-'), members.split_once('/')) {
            (Some((first, last)), _) => (id(first)?, id(last)?),
            (None, Some((prefix, bits))) => alike(id(prefix)?, bits)?,
            (None, None) => (id(members)?, id(members)?),
        };
        Self::new(own, first, last, policy)
    }
}

impl FromStr for GroupPolicy {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, GroupError> {
        match text {
            "least" => Ok(Self::Least),
            "client" => Ok(Self::Client),
            _ => Err(GroupError::Policy { text: text.to_owned() }),
        }
    }
}

/// Decimal; or hexadecimal behind 0x, as whoever has a meaning for some of the bits writes it.
fn id(text: &str) -> Result<ServerId, GroupError> {
    let number = match text.strip_prefix("0x") {
        Some(digits) if digits.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16)
        }
        _ if text.starts_with('+') => return Err(GroupError::Id { text: text.to_owned() }),
        _ => text.parse(),
    };
    number.map(ServerId::new).map_err(|_| GroupError::Id { text: text.to_owned() })
}

/// The first and the last of all IDs that have the same upper bits as this one.
fn alike(id: ServerId, bits: &str) -> Result<(ServerId, ServerId), GroupError> {
    let is_number = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let count = bits.parse::<u32>().ok().filter(|count| is_number && *count <= u32::BITS);
    let bits = count.ok_or_else(|| GroupError::Bits { text: bits.to_owned() })?;
    let lower = u32::MAX.checked_shr(bits).unwrap_or(0);
    let [first, last] = [id.get() & !lower, id.get() | lower].map(ServerId::new);
    if first != id {
        return Err(GroupError::NoPrefix { id, bits, first, last });
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn group(text: &str) -> ServerGroup {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn check(groups: &[&str]) -> Result<(), GroupsError> {
        ServerGroup::check_all(&groups.iter().map(|text| group(text)).collect::<Vec<_>>())
    }

    #[test]
    fn members_are_a_range_a_prefix_or_a_single_server() {
        for (text, meant) in [
            ("1000=1001-1010", "1000=1001-1010:least"),
            ("1000=1001-1010:least", "1000=1001-1010:least"),
            ("2000=2001-2004:client", "2000=2001-2004:client"),
            (" 1=2 ", "1=2-2:least"),
            ("0=0-4294967295", "0=0-4294967295:least"),
            ("0x10=0x20-0xFf", "16=32-255:least"),
            ("5=768/24", "5=768-1023:least"),
            ("5=0/0:client", "5=0-4294967295:client"),
            ("5=4294967295/32", "5=4294967295-4294967295:least"),
            ("5=0x80000000/1", "5=2147483648-4294967295:least"),
            // The group's own ID is a member's as well.
            ("1024=1024/22", "1024=1024-2047:least"),
        ] {
            assert_eq!(group(text).to_string(), meant, "{text}");
        }
    }

    #[test]
    fn what_is_no_group_is_said_with_what_would_be_one() {
        for (text, words) in [
            ("", "ID=FIRST-LAST, such as 1000=1001-1010"),
            ("1000", "ID=FIRST-LAST, such as 1000=1001-1010"),
            ("1000:1001-1010", "ID=FIRST-LAST, such as 1000=1001-1010"),
            ("=1001-1010", "\"\" is no server ID"),
            ("lobby=1001-1010", "\"lobby\" is no server ID, which is a whole number from 0 to 4294967295"),
            ("-1=1001-1010", "\"-1\" is no server ID"),
            ("+1=1001-1010", "\"+1\" is no server ID"),
            ("1=4294967296", "\"4294967296\" is no server ID"),
            ("1=0x", "\"0x\" is no server ID"),
            ("1=0x+5", "\"0x+5\" is no server ID"),
            ("1000 = 1001", "\"1000 \" is no server ID"),
            ("1000=1001-", "\"\" is no server ID"),
            ("1000=1001-1010-1020", "\"1010-1020\" is no server ID"),
            ("1000=2=3", "\"2=3\" is no server ID"),
            ("1000=", "the group has no members: write their IDs behind the =, such as 1000=1001-1010"),
            ("1000=:client", "the group has no members"),
            ("1000=1010-1001", "1010-1001 runs backwards: write 1001-1010"),
            ("1000=1001-1010:", "there is no policy \"\": write least,"),
            ("1000=1001-1010:random", "there is no policy \"random\": write least,"),
            ("1000=1001-1010:Client", "there is no policy \"Client\""),
            ("1=1000/24", "1000/24 has bits behind the first 24: write 768/24, which is 768-1023"),
            ("1=0/33", "from 0 to 32 bits, such as 0x01020000/16, and not \"33\""),
            ("1=0/", "from 0 to 32 bits"),
            ("1=0/+4", "from 0 to 32 bits"),
            ("1=0/4/5", "from 0 to 32 bits"),
        ] {
            let error = text.parse::<ServerGroup>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {words:?} is not in {error:?}");
        }
    }

    #[test]
    fn groups_have_ids_of_their_own_that_are_in_no_other_group() {
        assert_eq!(check(&[]), Ok(()));
        // A server may be in several groups: a new version of it is dialled by some of those who are to try it, say.
        assert_eq!(check(&["1=100-109", "2=100-149", "3=105-119:client"]), Ok(()));
        assert_eq!(check(&["1000=1000-1009", "1010=1010-1019"]), Ok(()));
        let error = check(&["1=2-3", "5=6-7", "1=8-9:client"]).unwrap_err().to_string();
        assert!(error.contains("has 1=2-3:least and 1=8-9:client, with the same ID: leave one"), "{error}");
        for groups in [["1000=1001-1010", "1005=2000-2010"], ["1005=2000-2010", "1000=1001-1010"]] {
            let error = check(&groups).unwrap_err().to_string();
            let words = "has 1005=2000-2010:least, whose ID is among the members of 1000=1001-1010:least";
            assert!(error.contains(words), "{error}");
        }
        let many: Vec<_> = (0..=MOST_GROUPS).map(|id| format!("{id}=100000-100009")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(check(&many[1..]), Ok(()));
        let error = check(&many).unwrap_err().to_string();
        assert!(error.contains("has 1025 groups, but may have 1024 at most"), "{error}");
    }

    /// What is shown means the same when it is read.
    #[test]
    fn any_group_can_be_written_and_read() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..10_000 {
            // Shifted, so that small numbers come as often as large ones.
            let [id, one, other] = [(); 3].map(|()| rng.random::<u32>() >> rng.random_range(0..32));
            let policy = if rng.random() { GroupPolicy::Client } else { GroupPolicy::Least };
            let group = ServerGroup::new(id.into(), one.min(other).into(), one.max(other).into(), policy);
            let group = group.expect("it is in order");
            assert_eq!(group.to_string().parse(), Ok(group));
        }
    }

    /// Nothing that can be typed makes it panic, and what it takes it can say.
    #[test]
    fn any_text_is_a_group_or_none() {
        const PIECES: [&str; 14] =
            ["0", "1", "7", "1000", "4294967295", "99999999999", "0x", "f", "=", "-", "/", ":", "least", "é"];
        let mut rng = StdRng::seed_from_u64(2);
        let mut groups = 0;
        for _ in 0..100_000 {
            let pieces = (0..rng.random_range(0..8)).map(|_| PIECES[rng.random_range(0..PIECES.len())]);
            let text: String = pieces.collect();
            if let Ok(group) = text.parse::<ServerGroup>() {
                groups += 1;
                assert_eq!(group.to_string().parse(), Ok(group), "{text}");
            }
        }
        assert!(groups > 100, "{groups} of them were groups");
    }

    #[test]
    fn a_prefix_is_all_ids_that_begin_alike() {
        let mut rng = StdRng::seed_from_u64(3);
        for bits in 0..=32_u32 {
            let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
            for _ in 0..100 {
                let first = rng.random::<u32>() & mask;
                let group = group(&format!("{first}={first}/{bits}"));
                let near = first ^ (rng.random::<u32>() & !mask);
                // Whichever bit of the prefix is another one.
                let far = near ^ (1 << rng.random_range(0..32)) & mask;
                assert!(group.serves(near.into()), "{near} in {first}/{bits}");
                assert_eq!(group.serves(far.into()), far == near, "{far} in {first}/{bits}");
            }
        }
    }
}
