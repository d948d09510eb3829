//! The model checker's command.
use portmaster_model::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let most = 3_000_000;
    if args[1] == "worlds" {
    for world in worlds() {
        if args.len() > 2 && args[2] != world.name { continue; }
        let r = check_some(&world, None, 1, most*5);
        println!("{}: {} states, depth {}, {:?}", world.name, r.states, r.depth, r.took);
        if let Some(c) = r.counterexample { println!("{:?}", c.properties); for s in c.steps { println!("  {s}"); } }
    }
    } else if args[1] == "trace" {
        let c = *Condition::ALL.iter().find(|c| format!("{c:?}") == args[2]).unwrap();
        for world in worlds() {
            if args.len() > 3 && args[3] != world.name { continue; }
            let r = check_some(&world, Some(c), 1, most);
            if let Some(x) = r.counterexample { println!("{}: {:?}", world.name, x.properties); for s in x.steps { println!("  {s}"); } }
        }
    } else {
        let mut ws: Vec<_> = worlds().into_iter().map(|w| (check_some(&w, None, 1, most).states, w)).collect();
        ws.sort_by_key(|w| w.0);
        for c in Condition::ALL {
            if args.len() > 2 && args[2] != format!("{c:?}") { continue; }
            let mut found = None;
            for (_, world) in &ws {
                let r = check_some(world, Some(*c), 2, most);
                if let Some(x) = r.counterexample { found = Some(format!("{}\t{} steps\t{} states\t{:?}", world.name, x.steps.len(), r.states, x.properties)); break; }
            }
            println!("{c:?}\t{}", found.unwrap_or("NOT CAUGHT".into()));
        }
    }
}
