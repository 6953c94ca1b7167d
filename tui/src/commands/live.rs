//! `tusktop live`: the screen, and the orders that come from it.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _},
    sync::Arc,
};

use jiff::tz::TimeZone;
use tokio::sync::watch;

use super::{options, record};
use crate::{
    app::Keymap,
    cli::LiveArgs,
    collect::{contents, inspect, php::Order, proc},
    config::{Environment, Settings},
    model::TraceOrder,
    recording::Recording,
    rules::Rules,
    screen::{
        depth,
        stage::{self, Stage},
        terminal::{self, Inspections, Recordings},
    },
    session::Session,
    system::pid_namespace::PidNamespace,
    ui::theme,
};

/// Whether standard output is a terminal that can be drawn on.
pub fn can_draw() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// What the settings make of the screen.
///
/// # Errors
/// The theme cannot be used, or `[keys]` binds a key in a way that does not work.
pub fn screen(settings: &Settings, environment: &Environment) -> anyhow::Result<stage::Options> {
    let variable = |name: &str| std::env::var(name).ok();
    let depth = depth::depth(settings.color, variable);
    let name = settings.theme.as_deref().unwrap_or_else(|| theme::default_name(depth));
    let keys: BTreeMap<_, _> =
        settings.keys.iter().map(|binding| (binding.key.clone(), binding.action.clone())).collect();
    Keymap::new(&keys).map_err(|error| settings.key_error(error.key(), &error))?;
    Ok(stage::Options {
        theme: theme::load(name, environment.config_folder().as_deref(), environment.sudo_uid)?,
        depth,
        fold: settings.fold.clone(),
        folded: settings.folded,
        ascii: settings.ascii || terminal::ascii_locale(variable),
        mouse: settings.mouse,
        keys,
        time_zone: TimeZone::system(),
        past: settings.past,
        read_only: settings.read_only().or_else(|| {
            let namespace = PidNamespace::read(&proc::Options::default().root);
            namespace.without_signals().map(Arc::from)
        }),
    })
}

/// Has the screen compare what it shows with a recording, if that is asked for.
///
/// # Errors
/// The recording cannot be read.
pub(super) fn compare(stage: &mut Stage, arguments: &LiveArgs) -> anyhow::Result<()> {
    if let Some(file) = &arguments.compare {
        stage.compare_with(Recording::open(file)?);
    }
    Ok(())
}

/// Opens the screen; it ends when the user leaves, a signal comes or the terminal goes away.
///
/// # Errors
/// Processes cannot be read at all, the terminal cannot be set up, or the recording to compare with cannot be read.
pub async fn run(
    settings: &Settings,
    rules: Arc<Rules>,
    screen: stage::Options,
    arguments: LiveArgs,
) -> anyhow::Result<u8> {
    let mut stage = Stage::new(&screen)?;
    compare(&mut stage, &arguments)?;
    let (session, snapshots) = Session::start(&options::going_on(settings, rules))?;
    let orders = session.orders.clone();
    let limits = options::limits(settings);
    let order = |what: TraceOrder| {
        // A collector that does not keep up has better things to do, and the screen shows that nothing began.
        if let Some(orders) = &orders {
            let _ = orders.try_send(Order { what, limits });
        }
    };
    let (inspected, wanted) = watch::channel(None);
    let readings = inspect::spawn(proc::Options::default().root, settings.secrets, wanted);
    let (contents_orders, wanted) = watch::channel(None);
    let contents = contents::spawn(proc::Options::default().root, wanted);
    let inspections = Inspections { orders: inspected, readings, contents_orders, contents };
    let (wanted, wish) = watch::channel(false);
    let (state, states) = watch::channel(None);
    let recording = record::beside::spawn(snapshots.resubscribe(), wish, state);
    let end = terminal::run(stage, snapshots, order, inspections, Recordings { wanted, states }).await;
    // The task can only fail by a panic, which has been reported by then.
    let _ = recording.await;
    session.stop().await;
    Ok(end?.code)
}
