//! How much a tenant, and each of its credentials, may send; and what they have.

use postrider_model::policy::{Allowance, Rates};
use postrider_model::{CredentialName, TenantName};

use super::tenants::no_tenant;
use super::{Book, worded};
use crate::db::{DatabaseTrouble, Row, Statement, Value};
use crate::words::Worded;

impl Book {
    /// Sets what a tenant, or one of its credentials, may send. Without any bound it is forgotten.
    pub async fn set_allowance(
        &self,
        tenant: &TenantName,
        credential: Option<&CredentialName>,
        allowance: &Allowance,
    ) -> Result<(), DatabaseTrouble> {
        if self.tenant(tenant).await?.is_none() {
            return Err(DatabaseTrouble::Conflict(no_tenant(tenant)));
        }
        if let Some(user) = credential
            && !self.credentials(Some(tenant)).await?.iter().any(|known| known.user == *user)
        {
            return Err(DatabaseTrouble::Conflict(format!(
                "{tenant} has no credential {user}: postrider key list --tenant {tenant} shows them"
            )));
        }
        let holder = || vec![Value::from(tenant.as_str()), credential.map_or("", |user| user.as_str()).into()];
        let Allowance { messages, recipients, recipients_per_message, message_octets, beyond } = allowance;
        let mut statements = vec![Statement::new("DELETE FROM allowance WHERE tenant = $1 AND credential = $2", holder())];
        if *allowance != (Allowance { beyond: *beyond, ..Allowance::default() }) {
            let number = |value: Option<u32>| Value::from(value.map(u64::from));
            let mut values = holder();
            for rates in [messages, recipients] {
                values.extend([rates.per_second, rates.per_hour, rates.per_day].map(number));
            }
            values.extend([number(*recipients_per_message), (*message_octets).into(), beyond.word().into()]);
            let sql = "INSERT INTO allowance (tenant, credential, messages_per_second, messages_per_hour, messages_per_day, \
                       recipients_per_second, recipients_per_hour, recipients_per_day, recipients_per_message, message_octets, beyond) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
            statements.push(Statement::new(sql, values));
        }
        self.change(statements).await
    }

    /// What a tenant, and its credentials, may send; the tenant's own stands under `None`.
    pub async fn allowances(&self, tenant: &TenantName) -> Result<Vec<(Option<CredentialName>, Allowance)>, DatabaseTrouble> {
        let sql = "SELECT credential, messages_per_second, messages_per_hour, messages_per_day, recipients_per_second, recipients_per_hour, \
                   recipients_per_day, recipients_per_message, message_octets, beyond FROM allowance WHERE tenant = $1 ORDER BY credential";
        let rows = self.database.find(sql, vec![tenant.as_str().into()]).await?;
        let read = rows.iter().map(|row| {
            let holder = row.text(0)?;
            Ok(((!holder.is_empty()).then(|| CredentialName::new(holder)), allowance(row)?))
        });
        read.collect()
    }

    /// What was counted, by holder, as it was last kept.
    pub async fn meters(&self) -> Result<Vec<(String, String)>, DatabaseTrouble> {
        let rows = self.database.find("SELECT holder, counts FROM meter ORDER BY holder", Vec::new()).await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
    }

    /// Keeps what was counted; an empty text is forgotten.
    pub async fn keep_meters(&self, meters: &[(String, String)]) -> Result<(), DatabaseTrouble> {
        let put = "INSERT INTO meter (holder, counts) VALUES ($1, $2) ON CONFLICT (holder) DO UPDATE SET counts = excluded.counts";
        let statements = meters.iter().map(|(holder, counts)| match counts.is_empty() {
            true => Statement::new("DELETE FROM meter WHERE holder = $1", vec![holder.as_str().into()]),
            false => Statement::new(put, vec![holder.as_str().into(), counts.as_str().into()]),
        });
        self.database.change(statements.collect()).await.map(drop)
    }
}

fn allowance(row: &Row) -> Result<Allowance, DatabaseTrouble> {
    let number = |column| {
        let number = row.optional_number(column)?;
        number.map(|number| u32::try_from(number).map_err(|_| row.unexpected(column))).transpose()
    };
    let rates =
        |first| Ok::<_, DatabaseTrouble>(Rates { per_second: number(first)?, per_hour: number(first + 1)?, per_day: number(first + 2)? });
    Ok(Allowance {
        messages: rates(1)?,
        recipients: rates(4)?,
        recipients_per_message: number(7)?,
        message_octets: row.optional_number(8)?,
        beyond: worded(row, 9)?,
    })
}
