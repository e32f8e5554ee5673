//! A region's three listeners: data, control, observe.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::model::SecretRef;
use crate::ops::Operations;
use crate::s3::Domains;
use crate::server::{self, Certificates, Server, TlsFiles, serve};
use crate::settings::{self, Limits, RegionSettings};
use crate::shares::{ShareLimits, Shares};
use crate::stack::{StackParts, stack};
use crate::telemetry::{Shared, Tracing, event};

use super::credentials::InUse;
use super::{Addresses, Running, Site, StartError, control, credentials, observe};

/// Connections that control and observe take: people and probes, not load.
const SMALL_CONNECTIONS_MAX: usize = 256;

/// How the data listener's requests are told of.
pub(super) struct Told {
    pub(super) tracing: Option<Tracing>,
    pub(super) line: Option<bool>,
    /// Who we are to the collector.
    pub(super) collector: Option<InUse>,
}

/// Listens on all three addresses of `region`, then serves.
pub(super) async fn listen(
    running: &mut Running,
    site: Arc<Site>,
    region: &RegionSettings,
    limits: &Limits,
    told: Told,
) -> Result<Addresses, StartError> {
    let tls = region.tls.as_ref().map(|files| tls(&site, files)).transpose()?;
    watch(running, &site, limits, tls.as_ref(), &told);
    let (data, data_address) = bind(region, "data", region.listen.data).await?;
    let (control, control_address) = bind(region, "control", region.listen.control).await?;
    let (observe, observe_address) = bind(region, "observe", region.listen.observe).await?;
    let addresses = Addresses {
        region: region.id.clone(),
        data: data_address,
        control: control_address,
        observe: observe_address,
        tls: tls.is_some(),
    };
    let full = server_limits(limits);
    let small = server::Limits { connections_max: SMALL_CONNECTIONS_MAX, ..full };
    let server = |name, limits, tls| Server { name, tls, limits, metrics: Arc::clone(site.metrics()) };
    let front = stack(StackParts {
        region: region.id.clone(),
        catalogue: Arc::clone(&site.parts.catalogue),
        directory: site.directory.clone(),
        log: site.log.clone(),
        operations: Operations::new(site.vault.clone(), region.id.clone(), Arc::clone(site.metrics())),
        domains: Domains::new([site.region().endpoints.s3.authority().host()]),
        in_flight_max: in_flight_max(limits),
        requests: shares(&site, Shared::Requests, limits.requests_max, limits.tenant_requests_max),
        connections: shares(&site, Shared::Connections, limits.connections_max, limits.connections_max),
        turns: turns(&site, limits),
        strangers_per_s_max: limits.strangers_per_s_max,
        metrics: Arc::clone(site.metrics()),
        tracing: told.tracing,
        line: told.line,
        clock: Arc::clone(&site.parts.clock),
        entropy: Arc::clone(&site.parts.entropy),
    });
    let stop = running.stop.clone();
    running.listeners.spawn(serve(data, server("data", full, tls.clone()), front, stop.clone()));
    running.listeners.spawn(serve(
        control,
        server("control", small, tls),
        control::service(Arc::clone(&site)),
        stop.clone(),
    ));
    running.observers.spawn(serve(
        observe,
        // It is the last to go and has nobody to warn.
        server("observe", server::Limits { notice_ms: 0, ..small }, None),
        observe::service(site, stop),
        running.stop_observing.clone(),
    ));
    Ok(addresses)
}

/// Watches the files of certificate and credentials.
fn watch(
    running: &mut Running,
    site: &Arc<Site>,
    limits: &Limits,
    tls: Option<&Arc<Certificates>>,
    told: &Told,
) {
    let period = Duration::from_millis(limits.reload_check_ms);
    if let Some(certificates) = tls {
        running.watchers.spawn(server::watch(
            Arc::clone(certificates),
            period,
            running.reload.subscribe(),
            running.stop.clone(),
        ));
    }
    for in_use in site.credentials.iter().chain(&told.collector).filter(|it| !it.identity.is_fixed()) {
        running.watchers.spawn(credentials::watch(
            Arc::clone(site),
            in_use.clone(),
            period,
            running.reload.subscribe(),
            running.stop.clone(),
        ));
    }
}

/// Requests in flight of everybody: an eighth more than the tenants', so that those who are not identified yet, and those who
/// never will be, stand in nobody's place. They hold theirs only while a signature is checked.
fn in_flight_max(limits: &Limits) -> usize {
    let all = limits.requests_max.saturating_add((limits.requests_max / 8).max(16));
    usize::try_from(all).unwrap_or(usize::MAX)
}

/// Shares of what is not waited for: a request or a connection too many is refused at once.
fn shares(site: &Site, what: Shared, capacity: u64, party_max: u64) -> Shares {
    let limits = ShareLimits { capacity, party_max, floor: 1, waiting_max: 0, wait: Duration::ZERO };
    Shares::new(what, limits, Arc::clone(site.metrics()))
}

/// Shares of the work: so many turns for each core, and time to wait for one.
fn turns(site: &Site, limits: &Limits) -> Shares {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let limits = ShareLimits {
        capacity: limits.turns_per_core_max.saturating_mul(cores),
        party_max: u64::MAX,
        floor: 1,
        // Whoever waits is a request in flight.
        waiting_max: limits.requests_max,
        wait: Duration::from_millis(limits.turn_wait_ms_max),
    };
    Shares::new(Shared::Turns, limits, Arc::clone(site.metrics()))
}

async fn bind(
    region: &RegionSettings,
    listener: &'static str,
    address: std::net::SocketAddr,
) -> Result<(TcpListener, std::net::SocketAddr), StartError> {
    let failed = |source| StartError::Listen { region: region.id.clone(), listener, address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    let tls = listener != "observe" && region.tls.is_some();
    event::listening(listener, &region.id, bound, tls);
    Ok((socket, bound))
}

fn tls(site: &Site, files: &settings::Tls) -> Result<Arc<Certificates>, StartError> {
    let region = &site.region().id;
    // A private key in an environment variable would be in every crash report and child process.
    let SecretRef::File(key) = files.private_key.clone() else {
        return Err(StartError::TlsKeyNotInFile { region: region.clone() });
    };
    let files = TlsFiles { certificates: files.certificate.clone(), key };
    Certificates::load(files, Arc::clone(site.clock()), Arc::clone(site.metrics()))
        .map_err(|source| StartError::Tls { region: region.clone(), source: Box::new(source) })
}

/// The process's limits as one listener takes them.
fn server_limits(limits: &Limits) -> server::Limits {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    server::Limits {
        connections_max: size(limits.connections_max),
        header_read_ms: limits.header_read_ms_max,
        header_bytes_max: size(limits.headers_bytes_max),
        headers_max: size(limits.headers_max),
        body_idle_ms: limits.body_idle_ms_max,
        rate_bytes_min: limits.body_rate_bytes_per_s_min,
        rate_window_ms: limits.body_rate_window_ms,
        linger_bytes_max: size(limits.discard_bytes_max),
        linger_ms: limits.discard_ms_max,
        notice_ms: limits.drain_notice_ms,
        drain_idle_ms: limits.drain_idle_ms_max,
        drain_ms: limits.drain_ms_max,
        ..server::Limits::default()
    }
}
