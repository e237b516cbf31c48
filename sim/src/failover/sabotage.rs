//! Ways in which those who use many gateways can be broken on purpose, to see that the judge finds out.

/// What is broken in a world. Nothing, as a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// Servers do not connect again to the first gateway.
    OneGatewayIsForgotten,
    /// Clients do not spread their search for another gateway.
    NoSpread,
    /// Failed gateways are tried again at once.
    NoBackoff,
    /// Nobody notices that a gateway is silent.
    SilenceIsIgnored,
    /// Clients stay with a gateway that refuses them a server.
    RefusalsAreEndured,
    /// Clients turn away from a gateway as soon as it refuses them a server.
    RefusalsAreNotEndured,
    /// Clients have something open with every server, whose end would be the end of a link that is of no other use.
    OldLinksAreKept,
    /// Clients are not told that their connection is a new one.
    RenewedIsHidden,
    /// Clients are told twice.
    RenewedTwice,
    /// Every twentieth message of a connection is lost on the way to the client.
    AnswersAreLost,
    /// Gateways that have left the set are used as before.
    NamesNeverLeave,
    /// Clients do not resume: they say only what is new.
    NothingIsResumed,
}
