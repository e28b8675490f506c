//! The pools, and the streams that are sent by them, for `status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use postrider_http::wire;
use postrider_model::policy::{Pool, Stream};
use postrider_model::{StreamName, TenantName};
use postrider_records::Book;

use super::reload::Reloader;

/// Streams of one pool that are named.
const STREAMS_MAX: usize = 100;

/// Tells the pools of the configuration in force, those of them that the registry cannot tell without their streams.
pub fn views(reloader: Arc<Reloader>, book: Arc<Book>) -> postrider_http::Pools {
    Arc::new(move || {
        let (reloader, book) = (reloader.clone(), book.clone());
        Box::pin(async move {
            let of_registry = book.pooled().await.unwrap_or_default();
            let config = reloader.configuration();
            let of_file = config
                .tenants
                .iter()
                .flat_map(|tenant| tenant.streams.iter().filter_map(|(name, stream)| named(&tenant.name, name, stream)));
            // What the file says of a stream holds.
            let in_file = |tenant: &TenantName, stream: &StreamName| {
                config.tenants.iter().any(|one| one.name == *tenant && one.streams.iter().any(|(name, _)| name == stream))
            };
            let of_registry = of_registry.into_iter().filter(|(tenant, stream, _)| !in_file(tenant, stream));
            table(&config.snapshot.routing.pools, of_file.chain(of_registry))
        })
    })
}

fn named(tenant: &TenantName, name: &StreamName, stream: &Stream) -> Option<(TenantName, StreamName, Box<str>)> {
    stream.pool.clone().map(|pool| (tenant.clone(), name.clone(), pool))
}

/// A line for each pool, and for each that is named and not there.
fn table(pools: &BTreeMap<String, Arc<Pool>>, streams: impl Iterator<Item = (TenantName, StreamName, Box<str>)>) -> Vec<wire::PoolView> {
    let view = |pool: &Arc<Pool>| wire::PoolView {
        name: pool.name.clone(),
        sources: pool.sources.iter().map(|(source, weight)| wire::PoolSource { source: source.to_string(), weight: *weight }).collect(),
        ..wire::PoolView::default()
    };
    let mut views: BTreeMap<String, wire::PoolView> = pools.iter().map(|(name, pool)| (name.clone(), view(pool))).collect();
    for (tenant, stream, pool) in streams {
        let name = pool.to_string();
        let view = views.entry(name.clone()).or_insert_with(|| wire::PoolView { name, ..wire::PoolView::default() });
        view.streams_total += 1;
        if view.streams.len() < STREAMS_MAX {
            view.streams.push(format!("{tenant}/{stream}"));
        }
    }
    views.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pool_is_told_with_its_streams_and_those_that_are_not_there() {
        let pool = Pool { name: "vip".to_owned(), sources: vec![("a".into(), 3)] };
        let pools = BTreeMap::from([("vip".to_owned(), Arc::new(pool))]);
        let one = |stream: &str, pool: &str| (TenantName::new("shop"), StreamName::new(stream), pool.into());
        let many = (0..STREAMS_MAX + 5).map(|nth| one(&format!("s{nth}"), "gone"));
        let told = table(&pools, [one("news", "vip")].into_iter().chain(many));
        let told: Vec<_> = told.iter().map(|one| (&*one.name, one.sources.len(), one.streams.len(), one.streams_total)).collect();
        assert_eq!(told, [("gone", 0, STREAMS_MAX, STREAMS_MAX + 5), ("vip", 1, 1, 1)]);
    }
}
