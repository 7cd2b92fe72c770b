//! Quantities of Kubernetes (`250m`, `64Mi`), as far as `resourceFieldRef` needs them:
//! `ExtractContainerResourceValue` of `pkg/api/v1/resource/helpers.go`.

/// Billionths: no quantity is finer.
const NANO: i128 = 1_000_000_000;

/// What a container finds in a variable with `resourceFieldRef`: the amount in units of the divisor, rounded up.
///
/// `None` when one of the two is no quantity. A divisor that is empty or zero is one.
#[must_use]
pub fn divided(resource: &str, amount: &str, divisor: &str) -> Option<String> {
    // Of processors, thousandths count; of all else only whole ones.
    let unit = match resource.rsplit('.').next() {
        Some("cpu") => NANO / 1000,
        _ => NANO,
    };
    let units = |text: &str| Some(up(nanos(text)?, unit));
    let divisor = match divisor {
        "" => units("1")?,
        text => match units(text)? {
            0 => units("1")?,
            units => units,
        },
    };
    Some(up(units(amount)?, divisor).to_string())
}

/// A quantity in billionths, rounded up.
fn nanos(text: &str) -> Option<i128> {
    let digits = text
        .find(|one: char| !one.is_ascii_digit() && one != '.' && one != '+')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (up_by, down_by) = scale(suffix)?;
    let places = u32::try_from(fraction.len()).ok()?;
    let mantissa: i128 = format!("{}{fraction}", whole.trim_start_matches('+'))
        .parse()
        .ok()?;
    let scaled = mantissa.checked_mul(up_by)?.checked_mul(NANO)?;
    Some(up(
        scaled,
        10_i128.checked_pow(places)?.checked_mul(down_by)?,
    ))
}

/// What a suffix multiplies by, and divides by.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let exponent = suffix.strip_prefix(['e', 'E']);
    if let Some(Ok(exponent)) = exponent.map(str::parse::<i32>) {
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        return Some(if exponent < 0 { (1, power) } else { (power, 1) });
    }
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANO),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANO, 1),
        "T" => (NANO * 1000, 1),
        "P" => (NANO * 1_000_000, 1),
        "E" => (NANO * NANO, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return None,
    })
}

/// Divides and rounds up; nothing here is negative.
const fn up(value: i128, by: i128) -> i128 {
    value.saturating_add(by - 1) / by
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_divided_and_rounded_up_as_the_kubelet_does() {
        for (resource, amount, divisor, wanted) in [
            ("limits.cpu", "250m", "0", "1"),
            ("limits.cpu", "250m", "1m", "250"),
            ("limits.cpu", "1500m", "1", "2"),
            ("requests.cpu", "0.1", "1m", "100"),
            ("limits.memory", "64Mi", "0", "67108864"),
            ("limits.memory", "64Mi", "1Mi", "64"),
            ("limits.memory", "65M", "1Mi", "62"),
            ("limits.memory", "1.5Gi", "1Mi", "1536"),
            ("limits.memory", "128974848000m", "1", "128974848"),
            ("limits.ephemeral-storage", "1e3", "", "1000"),
            ("limits.ephemeral-storage", "2E", "1P", "2000"),
            ("requests.memory", "0", "1Mi", "0"),
        ] {
            assert_eq!(
                divided(resource, amount, divisor).as_deref(),
                Some(wanted),
                "{resource} {amount} {divisor}"
            );
        }
        for bad in ["", "x", "1Xi", ".", "-1", "1e99"] {
            assert_eq!(divided("limits.memory", bad, "1"), None, "{bad}");
        }
    }
}
