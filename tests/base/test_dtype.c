/* SPDX-License-Identifier: MIT
 *
 * Rounding to bf16 and fp16 at the places where it goes wrong: ties, the largest number, numbers too small
 * for the format, NaN whose payload is in the low bits.
 */
#include "base/dtype.h"
#include "tests/suite.h"

#include <math.h>

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

START_TEST(every_type_has_size_and_name)
{
    ck_assert_uint_eq(dtype_size(DTYPE_F32), 4);
    ck_assert_uint_eq(dtype_size(DTYPE_BF16), 2);
    ck_assert_uint_eq(dtype_size(DTYPE_F16), 2);
    ck_assert_uint_eq(dtype_size(DTYPE_I32), 4);
    ck_assert_str_eq(dtype_name(DTYPE_F32), "fp32");
    ck_assert_str_eq(dtype_name(DTYPE_BF16), "bf16");
    ck_assert_str_eq(dtype_name(DTYPE_F16), "fp16");
    ck_assert_str_eq(dtype_name(DTYPE_I32), "int32");
    ck_assert_uint_eq(dtype_size(DTYPE_COUNT), 0);
    ck_assert_str_eq(dtype_name(DTYPE_COUNT), "unknown");
}
END_TEST

START_TEST(every_bf16_number_survives_the_way_there_and_back)
{
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        float value = dtype_f32_from_bf16((uint16_t)bits);
        uint16_t back = dtype_bf16_from_f32(value);
        if (isnan(value))
            ck_assert(isnan(dtype_f32_from_bf16(back)));
        else
            ck_assert_uint_eq(back, bits);
    }
}
END_TEST

START_TEST(ties_go_to_the_even_neighbour)
{
    ck_assert_uint_eq(dtype_bf16_from_f32(from_bits(0x3f808000u)), 0x3f80);
    ck_assert_uint_eq(dtype_bf16_from_f32(from_bits(0x3f818000u)), 0x3f82);
    ck_assert_uint_eq(dtype_bf16_from_f32(from_bits(0x3f808001u)), 0x3f81);
    ck_assert_uint_eq(dtype_bf16_from_f32(from_bits(0x3f817fffu)), 0x3f81);
    ck_assert_uint_eq(dtype_bf16_from_f32(from_bits(0xbf818000u)), 0xbf82);
}
END_TEST

START_TEST(the_largest_float_becomes_infinity_and_nan_stays_nan)
{
    ck_assert_uint_eq(dtype_bf16_from_f32(from_bits(0x7f7fffffu)), 0x7f80);
    ck_assert_uint_eq(dtype_bf16_from_f32(from_bits(0xff800000u)), 0xff80);
    ck_assert(isnan(dtype_f32_from_bf16(dtype_bf16_from_f32(from_bits(0x7f800001u)))));
    ck_assert(isnan(dtype_f32_from_bf16(dtype_bf16_from_f32(from_bits(0xffffffffu)))));
}
END_TEST

START_TEST(every_fp16_number_survives_the_way_there_and_back)
{
    for (uint32_t bits = 0; bits <= 0xffff; bits++) {
        float value = dtype_f32_from_f16((uint16_t)bits);
        uint16_t back = dtype_f16_from_f32(value);
        int exponent = (int)(bits >> 10 & 0x1f), fraction = (int)(bits & 0x3ff);
        double size = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        if (exponent == 0x1f && fraction != 0) {
            ck_assert(isnan(value) && isnan(dtype_f32_from_f16(back)));
            continue;
        }
        ck_assert_uint_eq(back, bits);
        if (exponent < 0x1f)
            ck_assert((double)value == (bits >> 15 ? -size : size));
        else
            ck_assert(isinf(value));
    }
}
END_TEST

/* Half way between any two neighbours lies a tie, and a float on either side of it. */
START_TEST(every_float_between_two_fp16_numbers_goes_to_the_nearer_one_or_the_even_one)
{
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = dtype_f32_from_f16((uint16_t)bits), high = dtype_f32_from_f16((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2;
        uint32_t even = bits % 2 == 0 ? bits : bits + 1;
        if (dtype_f16_from_f32(middle) != even || dtype_f16_from_f32(-middle) != (even | 0x8000u) ||
            dtype_f16_from_f32(nextafterf(middle, 0.0f)) != bits ||
            dtype_f16_from_f32(nextafterf(middle, INFINITY)) != bits + 1)
            ck_abort_msg("after 0x%04x", bits);
    }
    ck_assert_uint_eq(dtype_f16_from_f32(nextafterf(65520.0f, 0.0f)), 0x7bff);
    ck_assert_uint_eq(dtype_f16_from_f32(65520.0f), 0x7c00);
    ck_assert_uint_eq(dtype_f16_from_f32(-INFINITY), 0xfc00);
    ck_assert_uint_eq(dtype_f16_from_f32(1e-30f), 0);
    ck_assert(isnan(dtype_f32_from_f16(dtype_f16_from_f32(from_bits(0x7f800001u)))));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dtype");
    TCase *cases = tcase_create("dtype");
    tcase_add_test(cases, every_type_has_size_and_name);
    tcase_add_test(cases, every_bf16_number_survives_the_way_there_and_back);
    tcase_add_test(cases, ties_go_to_the_even_neighbour);
    tcase_add_test(cases, the_largest_float_becomes_infinity_and_nan_stays_nan);
    tcase_add_test(cases, every_fp16_number_survives_the_way_there_and_back);
    tcase_add_test(cases, every_float_between_two_fp16_numbers_goes_to_the_nearer_one_or_the_even_one);
    suite_add_tcase(suite, cases);
    return suite_run(suite);
}
