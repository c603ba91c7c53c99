"""The shader programs that fill the image: sky, the smaller image with rain, and the light of lamps."""

from __future__ import annotations

from mtdrive.envs.town.shaders import HEAD, LOOK

SKY_VERTEX = (
    HEAD
    + LOOK
    + """
in vec2 corner;
out vec3 way; out vec2 place;
void main() {
    gl_Position = vec4(corner, 1, 1);
    place = corner;
    way = transpose(mat3(view)) * vec3(corner / focal.xy, -1);
}
"""
)

SKY_FRAGMENT = (
    HEAD
    + LOOK
    + """
uniform sampler2DArray tiles;
in vec3 way; in vec2 place; out vec4 seen;

vec3 sky(vec3 way) {
    float up = max(way.z, 0.0);
    vec3 blue = mix(haze.rgb, zenith.rgb, sqrt(up));
    vec2 plane = way.xy / (up + 0.18);
    float noise = texture(tiles, vec3(plane * 0.11 + drift.xy, VARIATION)).r * 0.6
        + texture(tiles, vec3(plane * 0.37 + drift.zw, VARIATION)).r * 0.4;
    float cover = smoothstep(zenith.a, zenith.a + 0.12, noise) * smoothstep(0.02, 0.22, up);
    vec3 grey = cloud.rgb * (1.0 - focal.z * (noise - 0.5));
    float near = max(dot(way, sun.xyz), 0.0);
    vec3 seen = mix(blue, grey, cover * cloud.a) + halo.rgb * pow(near, halo.a);
#ifdef SUN
    seen += sunlight.rgb * clamp((near - 0.99975) * 6000.0, 0.0, 1.0 - 0.9 * cover);
#endif
#ifdef FOG
    float rise = max(fog.y * way.z, 1e-5);
    seen = mix(seen, haze.rgb, 1.0 - exp(-fog.w / rise * exp(-rise * fog.x)));
#endif
    return seen;
}

void main() { seen = vec4(sky(normalize(way)), 0); }
"""
)

SKY_LABEL_FRAGMENT = (
    HEAD
    + LOOK
    + """
in vec3 way; in vec2 place;
out vec4 label;
void main() {
    // The sky is so far away that only turning moves it.
    vec3 then = mat3(before) * way;
    vec2 flow = then.z < -0.01 ? place - then.xy / -then.z * focal.xy : vec2(2.0);
    label = vec4(FAR, clamp(flow, -2.0, 2.0), SKY * 65536.0);
}
"""
)

SHRINK_VERTEX = (
    HEAD
    + """
in vec2 corner;
out vec2 place;
void main() { gl_Position = vec4(corner, 0, 1); place = corner * 0.5 + 0.5; }
"""
)

SHRINK_FRAGMENT = (
    HEAD
    + LOOK
    + """
uniform sampler2D large;
in vec2 place; out vec4 seen;

#ifdef RAIN
uint mixed(uint x) { x ^= x >> 16; x *= 0x7feb352du; x ^= x >> 15; x *= 0x846ca68bu; return x ^ (x >> 16); }

// How much of a drop's streak is here, of those as far away as there are `count` of them side by side. At
// twenty frames a second none is seen twice: each frame draws them anew.
float streak(vec2 count, uint seed) {
    vec2 at = vec2((place.x + rain.y * place.y / focal.w) * count.x, place.y * count.y);
    uint column = uint(int(floor(at.x)) + 4096);
    uint draw = mixed(column + 8192u * (uint(rain.z) + 65536u * seed));
    at.y += float(draw & 255u) / 256.0;
    uint cell = mixed(draw ^ uint(int(floor(at.y)) + 64));
    vec2 inside = fract(at);
    float middle = 0.3 + 0.4 * float((cell >> 8) & 255u) / 256.0;
    float wide = max(1.0 - 5.0 * abs(inside.x - middle), 0.0);
    float on = float(cell & 255u) < 255.0 * (0.15 + 0.6 * rain.x) ? 1.0 : 0.0;
    return on * wide * 4.0 * inside.y * (1.0 - inside.y);
}
#endif

#ifdef WET
// What the ground mirrors, as if all that stands on it were far away: only its direction counts.
vec3 mirrored() {
    vec3 way = transpose(mat3(view)) * vec3((place * 2.0 - 1.0) / focal.xy, -1);
    vec3 back = mat3(view) * vec3(way.xy, abs(way.z));
    vec2 there = back.xy / max(-back.z, 0.01) * focal.xy * 0.5 + 0.5;
    return texture(large, clamp(there, 0.01, 0.99)).rgb;
}
#endif

void main() {
#ifdef THIRDS
    // A pixel is as large as three halves of the large image's each way. Here linear filtering weighs four of
    // these by how much of them lies in it.
    vec2 pixel = floor(gl_FragCoord.xy);
    seen = texture(large, (pixel + mix(vec2(5.0 / 9.0), vec2(4.0 / 9.0), mod(pixel, 2.0))) * water.zw * 0.5);
#else
    // The middle of a pixel lies where four of the large image meet: linear filtering is their mean.
    seen = texture(large, place);
#endif
#ifdef WET
    seen.rgb = mix(seen.rgb, mirrored(), seen.a);
#endif
#ifdef RAIN
    float drops = 0.30 * streak(vec2(26.0 * focal.w, 3.0), 1u) + 0.22 * streak(vec2(60.0 * focal.w, 7.0), 2u)
        + 0.16 * streak(vec2(120.0 * focal.w, 15.0), 3u);
    seen.rgb = mix(seen.rgb, vec3(rain.w), drops * (0.45 + 0.55 * rain.x));
#endif
}
"""
)

SHINE_VERTEX = (
    HEAD
    + """
uniform mat4 onto; uniform float nearer;
in vec2 corner; in vec4 middle; in vec3 across, along; in vec4 colour;  // the last of middle: the shape
out vec3 place; flat out vec4 shine;
void main() {
    gl_Position = onto * vec4(middle.xyz + corner.x * across + corner.y * along, 1);
    gl_Position.z -= nearer * gl_Position.w;
    place = vec3(corner * 0.5 + 0.5, middle.w); shine = colour;
}
"""
)

SHINE_FRAGMENT = (
    HEAD
    + """
uniform sampler2DArray shapes;
in vec3 place; flat in vec4 shine; out vec4 seen;
void main() { seen = shine * texture(shapes, place).r; }
"""
)
