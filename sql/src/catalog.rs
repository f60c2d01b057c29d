//! The one catalog, for the information schema: namespaces as schemas, tables of the version that is read.

use crate::names::{CATALOG, MAIN, SYSTEM};
use crate::scope::Names;
use crate::system::SystemTable;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result, TableReference};
use std::fmt;
use std::sync::Arc;

/// The list of the one catalog.
#[derive(Debug)]
pub(crate) struct Catalogs(pub(crate) Arc<Names>);

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_string()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(Catalog(self.0.clone())) as Arc<dyn CatalogProvider>)
    }
}

#[derive(Debug)]
struct Catalog(Arc<Names>);

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        let tables = self.0.table_names().unwrap_or_default();
        let mut names: Vec<String> = tables
            .iter()
            .filter_map(|table| table.split_once('.'))
            .map(|(namespace, _)| namespace.to_string())
            .collect();
        names.extend([MAIN.to_string(), SYSTEM.to_string()]);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schema = Namespace { names: self.0.clone(), name: name.to_string() };
        self.schema_names()
            .iter()
            .any(|other| other == name)
            .then(|| Arc::new(schema) as Arc<dyn SchemaProvider>)
    }
}

/// A namespace.
struct Namespace {
    names: Arc<Names>,
    name: String,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for Namespace {
    fn table_names(&self) -> Vec<String> {
        let tables = self.names.table_names().unwrap_or_default();
        let of_namespace = |table: &String| match table.split_once('.') {
            Some((namespace, table)) => (namespace == self.name).then(|| table.to_string()),
            None => (self.name == MAIN).then(|| table.clone()),
        };
        let mut names: Vec<String> = tables.iter().filter_map(of_namespace).collect();
        if self.name == MAIN {
            names.extend(self.names.known.views.keys().cloned());
            names.extend(self.names.known.external.keys().cloned());
        }
        if self.name == SYSTEM {
            names.extend(SystemTable::ALL.iter().map(|(name, _)| name.to_string()));
        }
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if !self.table_exist(name) {
            return Ok(None);
        }
        Ok(Some(self.names.provider(&TableReference::partial(self.name.as_str(), name))?))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|other| other == name)
    }
}
