//! The stores of clouds by their https addresses: `s3://`, `gs://` and `arn:`.
//!
//! Only what everybody may read is reached: a machine that is not configured yet has no credentials, and
//! temporary ones of a cloud's metadata would be a client of its own for each cloud. What is not public
//! is answered with 403 by the store, and that is said.

/// The https address of an object, or why it has none.
pub(super) fn https(url: &str) -> Result<String, &'static str> {
    let lower = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let rest = url.get(lower.len() + 1..).unwrap_or_default();
    let (object, query) = match rest.split_once('?') {
        Some((object, query)) => (object, version(query)),
        None => (rest, String::new()),
    };
    match lower.as_str() {
        "s3" => {
            let (bucket, key) = place(object.trim_start_matches('/'))?;
            Ok(format!("{}{}{query}", bucket_address(bucket, "", "amazonaws.com")?, escaped(key)))
        }
        "gs" => {
            let (bucket, key) = place(object.trim_start_matches('/'))?;
            check_name(bucket)?;
            Ok(format!("https://storage.googleapis.com/{bucket}/{}", escaped(key)))
        }
        "arn" => amazon(object, &query),
        _ => Err("it is no address of a store"),
    }
}

/// `PARTITION:s3:REGION:ACCOUNT:BUCKET/KEY`, or with `accesspoint/NAME/object/KEY` at the end (Amazon S3
/// user guide, "Amazon S3 resources").
fn amazon(text: &str, query: &str) -> Result<String, &'static str> {
    const FAULT: &str = "it is no ARN of an object in S3";
    let mut parts = text.splitn(5, ':');
    let mut next = || parts.next().ok_or(FAULT);
    let (partition, service, region, account, resource) =
        (next()?, next()?, next()?, next()?, next()?);
    let domain = match partition {
        "aws" | "aws-us-gov" => "amazonaws.com",
        "aws-cn" => "amazonaws.com.cn",
        _ => return Err("its partition is none that is known"),
    };
    if service != "s3" {
        return Err(FAULT);
    }
    for name in [region, account] {
        if !name.is_empty() {
            check_name(name)?;
        }
    }
    let Some(point) = resource.strip_prefix("accesspoint/") else {
        let (bucket, key) = place(resource)?;
        return Ok(format!("{}{}{query}", bucket_address(bucket, region, domain)?, escaped(key)));
    };
    let (name, key) = point.split_once("/object/").ok_or(FAULT)?;
    check_name(name)?;
    if region.is_empty() || account.is_empty() || key.is_empty() {
        return Err("an access point needs a region, an account and an object");
    }
    let host = format!("{name}-{account}.s3-accesspoint.{region}.{domain}");
    Ok(format!("https://{host}/{}{query}", escaped(key)))
}

fn bucket_address(bucket: &str, region: &str, domain: &str) -> Result<String, &'static str> {
    check_name(bucket)?;
    let host = if region.is_empty() { "s3".to_owned() } else { format!("s3.{region}") };
    // The certificate covers one label below the store's name.
    if bucket.contains('.') {
        return Ok(format!("https://{host}.{domain}/{bucket}/"));
    }
    Ok(format!("https://{bucket}.{host}.{domain}/"))
}

fn place(object: &str) -> Result<(&str, &str), &'static str> {
    match object.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok((bucket, key)),
        _ => Err("it names no bucket and object"),
    }
}

/// Names become parts of a host, so they have nothing but what names of hosts have.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_good = !name.is_empty() && name.bytes().all(is_plain) && !name.starts_with('.');
    if is_good { Ok(()) } else { Err("its bucket, region or account has letters that no name has") }
}

/// The version of an object, the only thing of a query that counts.
fn version(query: &str) -> String {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.find(|(name, _)| *name == "versionId").map(|(_, value)| escaped(value));
    found.map(|value| format!("?versionId={value}")).unwrap_or_default()
}

/// A key with what no address may hold escaped (RFC 3986, section 2.1); escapes that stand there stay.
fn escaped(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::https;

    #[test]
    fn objects_have_addresses() {
        for (url, expected) in [
            ("s3://bucket/dir/key", Some("https://bucket.s3.amazonaws.com/dir/key")),
            ("S3://bucket/a b", Some("https://bucket.s3.amazonaws.com/a%20b")),
            ("s3://my.bucket/key", Some("https://s3.amazonaws.com/my.bucket/key")),
            (
                "s3://bucket/key?versionId=7&x=1",
                Some("https://bucket.s3.amazonaws.com/key?versionId=7"),
            ),
            ("gs://bucket/dir/key", Some("https://storage.googleapis.com/bucket/dir/key")),
            ("arn:aws:s3:::bucket/key", Some("https://bucket.s3.amazonaws.com/key")),
            (
                "arn:aws:s3:eu-central-1:42:bucket/a/b?versionId=x",
                Some("https://bucket.s3.eu-central-1.amazonaws.com/a/b?versionId=x"),
            ),
            ("arn:aws-cn:s3:::bucket/key", Some("https://bucket.s3.amazonaws.com.cn/key")),
            (
                "arn:aws:s3:eu-west-1:42:accesspoint/name/object/dir/key",
                Some("https://name-42.s3-accesspoint.eu-west-1.amazonaws.com/dir/key"),
            ),
            ("s3://bucket", None),
            ("s3://a@evil.example/key", None),
            ("gs://a?b/c", None),
            ("arn:aws:ec2:::bucket/key", None),
            ("arn:aws:s3::evil/x:bucket/key", None),
            ("arn:aws:s3:::accesspoint/name/object/key", None),
            ("arn:other:s3:::bucket/key", None),
            ("arn:", None),
        ] {
            assert_eq!(https(url).ok().as_deref(), expected, "{url}");
        }
    }
}
