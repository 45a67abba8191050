//! What ten thousand audiences cost that look at other events.

use crate::events::{hundred_audiences, workspace};
use crate::fold::{anyone, preload, saturate};
use crate::server::Place;
use crate::table::Table;
use crate::{Args, Outcome};

const PROFILES: u64 = 50_000;

pub(crate) async fn further(args: &Args, table: &mut Table) -> Outcome<()> {
    let mut many = hundred_audiences();
    for i in 0..10_000 {
        many.push_str(&format!(
            "  - {{ key: o{i}, name: O{i}, where: 'count(\"Other {}\" where revenue > {i} in last 7d) >= 2' }}\n",
            i % 1000
        ));
    }
    let mut measured = Vec::new();
    for audiences in [hundred_audiences(), many] {
        let place = Place::new(args, &workspace(&audiences))?;
        let server = place.start().await?;
        preload(&server, PROFILES).await?;
        let saturated = saturate(&server, args.load(), 1 << 40, anyone(PROFILES)).await?;
        measured.push((saturated, server.peak()));
        server.kill().await?;
    }
    if let [(without, _), (with, memory)] = measured.as_slice() {
        table.row(
            "10,000 further audiences",
            "cost < 5 %",
            &format!("{:+.1} % processor an event", (with.cpu / without.cpu - 1.0) * 100.0),
            memory,
            &format!(
                "on other events; {:.0} events/s without, {:.0} with; {:.2} and {:.2} µs of processor",
                without.rate, with.rate, without.cpu, with.cpu
            ),
        );
    }
    Ok(())
}
