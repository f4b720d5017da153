/* Stands in for both mirror libraries: the maker's prototypes, a small device behind them.
 *
 * It proves names, argument order and sizes, statuses and buffer lengths. It does not
 * prove what the maker's library does.
 *
 * Every output buffer is written over its whole documented length, so that a caller with
 * too little memory is found out. shim_* functions let a test steer the device.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef int32_t Status;
typedef uint32_t Session;
typedef uint16_t Bool;

#define API __attribute__((visibility("default"))) Status
#define SEGMENTS 40
#define HANDLE 0x5EEDu
#define RELAX_STEPS 80
#define ERR(code) ((Status)(0xBFFC0900u + (code)))
#define EXT(code) ((Status)(0xBFFC09FFu + (code)))
#define INVALID_SESSION ((Status)0xBFFF000Eu)
#define NO_TILT ((Status)0x3FFC0910)

typedef struct {
    double volts[SEGMENTS], low, high, after_init, temperature[4];
    int32_t open, devices, available, compensation, self_test, relax_left, relax_forever;
    int32_t calls, dangerous, overrun, terms, unplugged;
    char inject_name[64];
    Status inject_status;
    int32_t inject_after;
} Device;

static Device d;

static Status enter(const char *name, Session s, int needs_session) {
    d.calls++;
    if (d.inject_name[0] && strcmp(name, d.inject_name) == 0 && d.inject_after-- <= 0)
        return d.inject_status;
    if (d.unplugged) { d.open = 0; return (Status)0xBFFF0011u; }
    if (needs_session && (!d.open || s != HANDLE)) return INVALID_SESSION;
    return 0;
}
#define ENTER(s, needs) do { Status e_ = enter(__func__, s, needs); if (e_) return e_; } while (0)

static void text(char *out, size_t size, const char *what) {
    if (!out) return;
    memset(out, 0, size + (d.overrun ? 4 : 0));
    if (d.overrun) memset(out + size, 'x', 4);
    strncpy(out, what, size - 1);
}

/* --- steering ------------------------------------------------------------------- */
API shim_reset(void) {
    memset(&d, 0, sizeof d);
    d.low = 0, d.high = 300, d.after_init = 0, d.devices = 1, d.available = 1, d.terms = 12;
    for (int i = 0; i < 4; i++) d.temperature[i] = 30.0 + i;
    return 0;
}
API shim_inject(const char *name, Status status, int32_t after) {
    strncpy(d.inject_name, name, sizeof d.inject_name - 1);
    d.inject_status = status, d.inject_after = after;
    return 0;
}
API shim_set(const char *key, double value) {
    if (!strcmp(key, "devices")) d.devices = (int)value;
    else if (!strcmp(key, "available")) d.available = (int)value;
    else if (!strcmp(key, "self_test")) d.self_test = (int)value;
    else if (!strcmp(key, "low")) d.low = value;
    else if (!strcmp(key, "high")) d.high = value;
    else if (!strcmp(key, "after_init")) d.after_init = value;
    else if (!strcmp(key, "overrun")) d.overrun = (int)value;
    else if (!strcmp(key, "terms")) d.terms = (int)value;
    else if (!strcmp(key, "relax_forever")) d.relax_forever = (int)value;
    else if (!strcmp(key, "mirror_c")) d.temperature[2] = value;
    else if (!strcmp(key, "unplugged")) d.unplugged = (int)value;
    else return -1;
    return 0;
}
API shim_open(void) { return d.open; }
API shim_calls(void) { return d.calls; }
API shim_dangerous(void) { return d.dangerous; }
API shim_volts(double out[SEGMENTS]) { memcpy(out, d.volts, sizeof d.volts); return 0; }

/* --- base library --------------------------------------------------------------- */
API TLDFM_get_device_count(Session s, uint32_t *n) { ENTER(s, 0); *n = d.devices; return 0; }
API TLDFM_get_device_information(Session s, uint32_t i, char *maker, char *name, char *serial,
                                 Bool *available, char *resource) {
    ENTER(s, 0);
    if ((int)i >= d.devices) return ERR(0x05);
    char number[28] = "M00000001", where[256] = "USB0::0x1313::0x8016::M00000001::0::RAW";
    number[8] = where[30] = (char)('1' + i);
    text(maker, 256, "Thorlabs"), text(name, 28, "DMH40-P01"), text(serial, 28, number);
    text(resource, 256, where);
    *available = (Bool)d.available;
    return 0;
}
static Status init_(const char *resource, Session *h) {
    if (strncmp(resource, "USB0::0x1313::0x8016::M", 23)) return (Status)0xBFFF0011u;
    d.open = 1, *h = HANDLE;
    for (int i = 0; i < SEGMENTS; i++) d.volts[i] = d.after_init;
    return 0;
}
API TLDFM_init(char *r, Bool q, Bool z, Session *h) { (void)q, (void)z; ENTER(0, 0); return init_(r, h); }
API TLDFM_close(Session s) { ENTER(s, 1); d.open = 0; return 0; }
API TLDFM_reset(Session s) { ENTER(s, 1); d.dangerous++; return 0; }
API TLDFM_self_test(Session s, int16_t *r, char *t) { ENTER(s, 1); *r = (int16_t)d.self_test; text(t, 512, "ok"); return 0; }
API TLDFM_revision_query(Session s, char *a, char *b) { ENTER(s, 1); text(a, 256, "2.4"); text(b, 256, "1.2"); return 0; }
API TLDFM_error_query(Session s, Status *c, char *t) { ENTER(s, 1); *c = 0; text(t, 512, ""); return 0; }
API TLDFM_error_message(Session s, Status c, char *t) { (void)s, (void)c; text(t, 512, "text of the library"); return 0; }
API TLDFM_get_segment_count(Session s, uint32_t *n) { ENTER(s, 1); *n = SEGMENTS; return 0; }
API TLDFM_get_segment_minimum(Session s, double *v) { ENTER(s, 1); *v = d.low; return 0; }
API TLDFM_get_segment_maximum(Session s, double *v) { ENTER(s, 1); *v = d.high; return 0; }
API TLDFM_get_tilt_count(Session s, uint32_t *n) { ENTER(s, 1); *n = 0; return NO_TILT; }
API TLDFM_get_tilt_minimum(Session s, double *v) { ENTER(s, 1); *v = 0; return NO_TILT; }
API TLDFM_get_tilt_maximum(Session s, double *v) { ENTER(s, 1); *v = 0; return NO_TILT; }
static int bad(double v) { return !isfinite(v) || v < d.low || v > d.high; }
API TLDFM_get_segment_voltage(Session s, uint32_t i, double *v) { ENTER(s, 1); if (i >= SEGMENTS) return ERR(5); *v = d.volts[i]; return 0; }
API TLDFM_set_segment_voltage(Session s, uint32_t i, double v) { ENTER(s, 1); if (i >= SEGMENTS || bad(v)) return ERR(5); d.volts[i] = v; return 0; }
API TLDFM_get_segment_voltages(Session s, double *v) {
    ENTER(s, 1);
    memcpy(v, d.volts, sizeof d.volts);
    if (d.overrun) memset(v + SEGMENTS, 1, 4);
    return 0;
}
API TLDFM_set_segment_voltages(Session s, double *v) {
    ENTER(s, 1);
    for (int i = 0; i < SEGMENTS; i++) if (bad(v[i])) return ERR(5);
    memcpy(d.volts, v, sizeof d.volts);
    return 0;
}
API TLDFM_get_tilt_voltage(Session s, uint32_t i, double *v) { (void)i; ENTER(s, 1); *v = 0; return NO_TILT; }
API TLDFM_set_tilt_voltage(Session s, uint32_t i, double v) { (void)i, (void)v; ENTER(s, 1); return NO_TILT; }
API TLDFM_get_tilt_voltages(Session s, double *v) { (void)v; ENTER(s, 1); return NO_TILT; }
API TLDFM_set_tilt_voltages(Session s, double *v) { (void)v; ENTER(s, 1); return NO_TILT; }
API TLDFM_set_tilt_amplitude_angle(Session s, double a, double b) { (void)a, (void)b; ENTER(s, 1); return NO_TILT; }
API TLDFM_get_voltages(Session s, double *v, double *t) { (void)t; ENTER(s, 1); memcpy(v, d.volts, sizeof d.volts); return NO_TILT; }
API TLDFM_set_voltages(Session s, double *v, double *t) { (void)v, (void)t; ENTER(s, 1); return NO_TILT; }
API TLDFM_get_measured_segment_voltage(Session s, uint32_t i, double *v) { return TLDFM_get_segment_voltage(s, i, v); }
API TLDFM_get_measured_segment_voltages(Session s, double *v) { return TLDFM_get_segment_voltages(s, v); }
API TLDFM_get_measured_tilt_voltage(Session s, uint32_t i, double *v) { return TLDFM_get_tilt_voltage(s, i, v); }
API TLDFM_get_measured_tilt_voltages(Session s, double *v) { return TLDFM_get_tilt_voltages(s, v); }
API TLDFM_get_measured_voltages(Session s, double *v, double *t) { return TLDFM_get_voltages(s, v, t); }
API TLDFM_get_device_configuration(Session s, uint32_t *n, double *a, double *b, double *c, uint32_t *t,
                                   double *e, double *f, double *g) {
    ENTER(s, 1);
    *n = SEGMENTS, *a = d.low, *b = d.high, *c = d.high, *t = 0, *e = *f = *g = 0;
    return 0;
}
API TLDFM_get_device_calibration(Session s, double *a, double *b, double *c) { ENTER(s, 1); *a = *b = *c = 1; return 0; }
API TLDFM_enable_hysteresis_compensation(Session s, uint32_t t, Bool on) { ENTER(s, 1); if (t > 2) return ERR(0x21); d.compensation = on; return 0; }
API TLDFM_enabled_hysteresis_compensation(Session s, uint32_t t, Bool *on) { ENTER(s, 1); if (t > 2) return ERR(0x21); *on = (Bool)d.compensation; return 0; }
API TLDFM_get_hysteresis_parameters(Session s, uint32_t t, uint32_t *n, double *f, double *a, double *b) {
    (void)t, (void)a, (void)b;
    ENTER(s, 1);
    *n = 0, *f = 1;
    return 0;
}
API TLDFM_get_temperatures(Session s, double *a, double *b, double *c, double *e) {
    ENTER(s, 1);
    *a = d.temperature[0], *b = d.temperature[1], *c = d.temperature[2], *e = d.temperature[3];
    return 0;
}
API TLDFM_get_feedback(Session s, double *a, double *b) { ENTER(s, 1); *a = *b = 0; return 0; }
API TLDFM_get_feedback_voltage(Session s, double *a) { ENTER(s, 1); *a = 0; return 0; }
API TLDFM_get_feedback_current(Session s, double *a) { ENTER(s, 1); *a = 0; return 0; }
API TLDFM_get_monitor_voltage(Session s, double *a) { ENTER(s, 1); *a = 0; return 0; }
API TLDFM_get_manufacturer_name(Session s, char *t) { ENTER(s, 1); text(t, 256, "Thorlabs"); return 0; }
API TLDFM_get_instrument_name(Session s, char *t) { ENTER(s, 1); text(t, 28, "DMH40-P01"); return 0; }
API TLDFM_get_serial_Number(Session s, char *t) { ENTER(s, 1); text(t, 28, "M00000001"); return 0; }
API TLDFM_get_user_text(Session s, char *t) { ENTER(s, 1); text(t, 61, ""); return 0; }
API TLDFM_set_user_text(Session s, char *t) { (void)t; ENTER(s, 1); d.dangerous++; return 0; }
API TLDFM_set_USB_access_mode(Session s, uint32_t m, char *k, char *o) { (void)m, (void)k, (void)o; ENTER(s, 1); return 0; }
API TLDFM_add_status_delegate(Session s, int (*f)(char *)) { (void)f; ENTER(s, 1); return 0; }
API TLDFM_enable_event(Session s) { ENTER(s, 1); return 0; }
API TLDFM_disable_event(Session s) { ENTER(s, 1); return 0; }
/* What nobody may ever call. */
API TLDFM_set_device_configuration(void) { d.dangerous++; return 0; }
API TLDFM_set_device_calibration(void) { d.dangerous++; return 0; }
API TLDFM_set_hysteresis_parameters(void) { d.dangerous++; return 0; }
API TLDFM_set_serial_number(void) { d.dangerous++; return 0; }
API TLDFM_set_instrument_name(void) { d.dangerous++; return 0; }
API TLDFM_set_access_level(void) { d.dangerous++; return 0; }
API TLDFM_update_firmware(void) { d.dangerous++; return 0; }

/* --- extended library ------------------------------------------------------------ */
API TLDFMX_init(char *r, Bool q, Bool z, Session *h) { (void)q, (void)z; ENTER(0, 0); return init_(r, h); }
API TLDFMX_close(Session s) { ENTER(s, 1); d.open = 0; return 0; }
API TLDFMX_reset(Session s) { ENTER(s, 1); d.dangerous++; return 0; }
API TLDFMX_self_test(Session s, int16_t *r, char *t) { ENTER(s, 1); *r = (int16_t)d.self_test; text(t, 512, "self test told this"); return 0; }
API TLDFMX_revision_query(Session s, char *a, char *b) { ENTER(s, 1); text(a, 256, "1.1.1541.157"); text(b, 256, "1.2"); return 0; }
API TLDFMX_error_query(Session s, int32_t *c, char *t) { ENTER(s, 1); *c = 0; text(t, 512, ""); return 0; }
API TLDFMX_error_message(Session s, Status c, char *t) { (void)s, (void)c; text(t, 512, "text of the library"); return 0; }
API TLDFMX_get_parameters(Session s, double *low, double *high, int32_t *n, int32_t *m, int32_t *r) {
    ENTER(s, 1);
    *low = -1, *high = 1, *n = d.terms, *m = 33, *r = RELAX_STEPS;
    return 0;
}
API TLDFMX_relax(Session s, uint32_t part, Bool first, Bool reload, double *v, double *arms, int32_t *left) {
    (void)reload;
    ENTER(s, 1);
    if (part != 0 || arms) return EXT(3);
    if (!first && d.relax_left <= 0 && !d.relax_forever) return EXT(1);
    if (first) d.relax_left = RELAX_STEPS;
    d.relax_left--;
    double middle = (d.low + d.high) / 2, half = (d.high - d.low) / 2;
    double swing = half * (d.relax_left > 0 ? d.relax_left : 0) / RELAX_STEPS;
    for (int i = 0; i < SEGMENTS; i++) v[i] = middle + (d.relax_left % 2 ? swing : -swing);
    *left = d.relax_forever ? 1 : d.relax_left;
    return 0;
}
API TLDFMX_calculate_zernike_pattern(Session s, uint32_t flags, double *amps, double *v) {
    ENTER(s, 1);
    double sum = 0;
    for (int i = 0; i < 12; i++) {
        if (!isfinite(amps[i]) || fabs(amps[i]) > 1) return EXT(9);
        if (flags & (1u << i)) sum += amps[i] * (i + 1) / 12;
    }
    double middle = (d.low + d.high) / 2, half = (d.high - d.low) / 2;
    for (int i = 0; i < SEGMENTS; i++) v[i] = middle + half * sum * ((i % 2) ? -1 : 1) / 8;
    return 0;
}
API TLDFMX_calculate_single_zernike_pattern(Session s, uint32_t flag, double amp, double *v) {
    double amps[12];
    for (int i = 0; i < 12; i++) amps[i] = (flag & (1u << i)) ? amp : 0;
    return TLDFMX_calculate_zernike_pattern(s, flag, amps, v);
}
API TLDFMX_measure_system_parameters(Session s, Bool f, float *m, double *v, int32_t *r) { (void)f, (void)m, (void)v; ENTER(s, 1); *r = 0; return 0; }
API TLDFMX_get_system_parameters(Session s, uint32_t *r, uint32_t *f, double *a, Bool *ok) { (void)a; ENTER(s, 1); *r = *f = 0; *ok = 0; return 0; }
API TLDFMX_get_flat_wavefront(Session s, uint32_t z, float *m, double *a, double *v) { (void)z, (void)m, (void)a, (void)v; ENTER(s, 1); return EXT(1); }
API TLDFMX_convert_measured_zernike_amplitudes(Session s, float *m, double *a) { (void)m, (void)a; ENTER(s, 1); return 0; }
API TLDFMX_set_rotation_mode(Session s, uint32_t m) { (void)m; ENTER(s, 1); return 0; }
API TLDFMX_get_rotation_mode(Session s, uint32_t *m) { ENTER(s, 1); *m = 0; return 0; }
API TLDFMX_set_flip_mode(Session s, uint32_t m) { (void)m; ENTER(s, 1); return 0; }
API TLDFMX_get_flip_mode(Session s, uint32_t *m) { ENTER(s, 1); *m = 0; return 0; }
API TLDFMX_set_pattern_range_check(Session s, Bool on) { (void)on; ENTER(s, 1); d.dangerous++; return 0; }
API TLDFMX_get_pattern_range_check(Session s, Bool *on) { ENTER(s, 1); *on = 1; return 0; }
API TLDFMX_set_single_voltage_setpoint(Session s, int32_t i, double v) { (void)i, (void)v; ENTER(s, 1); return 0; }
API TLDFMX_set_voltages_setpoint(Session s, double *v) { (void)v; ENTER(s, 1); return 0; }
